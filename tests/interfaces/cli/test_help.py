"""Every command's help is a golden file, and every example in it runs.

`ADVISOR_WRITE_GOLDEN=1 pytest tests/interfaces/cli/test_help.py` writes the files anew.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from advisor.interfaces.cli.main import VERBS, load

GOLDEN = Path(__file__).parents[2] / "golden" / "help"
WIDTH = "110"


def help_of(*verb: str) -> str:
    environment = {**os.environ, "COLUMNS": WIDTH, "TERMINAL_WIDTH": WIDTH, "NO_COLOR": "1", "TERM": "dumb"}
    command = [sys.executable, "-m", "advisor.interfaces.cli.main", *verb, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines()) + "\n"


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_is_as_written_down(verb):
    path = GOLDEN / f"{verb or 'advisor'}.txt"
    said = help_of(*filter(None, [verb]))
    if os.environ.get("ADVISOR_WRITE_GOLDEN"):
        path.write_text(said, encoding="utf-8")
    assert said == path.read_text(encoding="utf-8")


def test_every_golden_file_belongs_to_a_command():
    assert {path.stem for path in GOLDEN.glob("*.txt")} == {"advisor", *VERBS}


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_shows_an_example_of_itself(verb):
    assert examples_of(verb)
    for example in examples_of(verb):
        assert example.startswith(f"advisor {verb}")


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_says_what_it_does(verb):
    for parameter in load(verb).params:
        if parameter.param_type_name == "option":
            assert getattr(parameter, "help", None), f"{verb} {parameter.opts[0]}"


def test_every_command_can_answer_in_json():
    for verb in VERBS:
        assert "--json" in {option for parameter in load(verb).params for option in parameter.opts}, verb


def examples_of(verb: str) -> list[str]:
    text = load(verb).help or ""
    _, _, after = text.partition("Example")
    return re.findall(r"^\s*(advisor .+)$", after, re.MULTILINE)


EXAMPLES = [(verb, example) for verb in VERBS for example in examples_of(verb)]
CHEAP = {"gpus", "models", "methods", "evidence", "completion"}
"""Verbs that only read the catalogue; the examples of others are parsed here and their commands run elsewhere."""


@pytest.mark.parametrize(("verb", "example"), EXAMPLES, ids=[example for _, example in EXAMPLES])
def test_every_example_parses_and_the_cheap_ones_run(verb, example, tmp_path):
    arguments = shlex.split(example)[2:]
    load(verb).make_context(verb, list(arguments))
    if verb in CHEAP and "--model" not in arguments:
        environment = {**os.environ, "ADVISOR_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-m", "advisor.interfaces.cli.main", verb, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()
