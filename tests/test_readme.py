"""README.md is the only manual: its commands parse, the cheap ones run, its Python is real, its test block is used."""

from __future__ import annotations

import ast
import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import advisor
from advisor.interfaces.cli.main import VERBS, load

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
CHEAP = {"gpus", "prices", "models", "methods", "evidence"}
"""Verbs that only read the catalogue."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    lines = [line for block in blocks("bash") for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith("advisor ")]


def test_there_are_commands_to_test():
    assert len(commands()) >= 6
    assert blocks("python")


@pytest.mark.parametrize("line", commands())
def test_each_command_is_one_that_parses(line):
    _, verb, *arguments = shlex.split(line)
    assert verb in VERBS
    load(verb).make_context(verb, arguments)


@pytest.mark.parametrize("line", [line for line in commands() if line.split()[1] in CHEAP and "--model" not in line])
def test_each_cheap_command_runs(line, tmp_path):
    command = [sys.executable, "-m", "advisor.interfaces.cli.main", *shlex.split(line)[1:]]
    environment = {**os.environ, "ADVISOR_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_a_recipe_is_exported_as_is_shown(tmp_path):
    (block,) = [block for block in blocks("bash") if "recipe.json" in block]
    written, exported = block.splitlines()[:2]
    assert written.startswith("echo ")
    (tmp_path / "recipe.json").write_text(shlex.split(written)[1])
    command = [sys.executable, "-m", "advisor.interfaces.cli.main", *shlex.split(exported)[1:]]
    environment = {**os.environ, "ADVISOR_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "base_model: meta-llama/Llama-3.2-3B" in (tmp_path / "axolotl.yaml").read_text()


def test_each_call_in_the_python_blocks_has_the_functions_own_arguments():
    calls = 0
    for block in blocks("python"):
        for node in ast.walk(ast.parse(block)):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func).startswith("advisor.")):
                continue
            function = getattr(advisor, ast.unparse(node.func).removeprefix("advisor."))
            inspect.signature(function).bind(*node.args, **{str(k.arg): None for k in node.keywords})
            calls += 1
    assert calls >= 2


def test_ci_runs_the_readmes_own_test_block():
    block = re.search(r"<!-- tests -->\s*```bash\n(.*?)```", TEXT, re.DOTALL)[1].strip()
    assert block.splitlines()[-1].split()[0] == "pytest"
    assert "<!-- tests -->" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_every_verb_of_the_command_line_is_in_the_manual():
    assert not [verb for verb in VERBS if f"advisor {verb}" not in TEXT]


def test_what_is_installed_is_what_the_constraints_pin():
    """The versions tests ran with here are those that `.ci/run` installs."""
    from importlib.metadata import PackageNotFoundError, version

    differing = []
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        name, _, pinned = line.partition("==")
        try:
            installed = version(name).split("+")[0]
        except PackageNotFoundError:
            continue
        if pinned and installed != pinned.split("+")[0]:
            differing.append(f"{name}: {installed}, pinned {pinned}")
    assert not differing
