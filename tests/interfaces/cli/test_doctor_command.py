"""`advisor doctor` and `advisor completion`: what is here is said as it is; a machine without a GPU is no error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version

import pytest

from advisor.estimator import doctor as examination
from advisor.interfaces.cli.main import run
from advisor.tracer.library_releases import SHIPPED_WITH


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path))
    monkeypatch.setattr(examination, "_gpu", lambda: (None, "torch sees no GPU on this machine"))


def libraries(capsys) -> dict[str, dict[str, object]]:
    assert run(["doctor", "--json"]) == 0
    return {one["name"]: one for one in json.loads(capsys.readouterr().out)["libraries"]}


def test_libraries_are_named_with_what_is_installed(capsys):
    found = libraries(capsys)
    for name in ("torch", "transformers", "peft"):
        assert found[name]["installed"] == version(name)
        assert not found[name]["too_old"]
        assert found[name]["extra"] == ""
    assert found["trl"]["extra"] == "trl"
    assert "pytest" not in found


def test_people_are_told_in_sentences(capsys):
    assert run(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("advisor ")
    assert "none: torch sees no GPU" in shown
    assert "advisor prices --refresh" in shown


def test_a_release_without_shipped_traces_and_one_too_old_are_told(monkeypatch, capsys):
    installed = {"torch": "9.9.0", "peft": "0.1.0"}
    monkeypatch.setattr(examination, "installed_versions", lambda names: {n: installed.get(n, "99.0") for n in names})
    assert run(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    told = {one["name"]: one for one in found["libraries"]}
    assert told["torch"]["traces"] == "made anew"
    assert told["peft"]["too_old"]
    assert any("peft 0.1.0 is older" in problem for problem in found["problems"])
    assert any(step.startswith("pip install 'peft>=") for step in found["to_do"])
    assert SHIPPED_WITH["torch"] != "9.9.0"


def test_a_card_that_was_never_measured_is_to_be_measured(monkeypatch, capsys):
    from advisor.catalog.gpus import find_gpu

    monkeypatch.setattr(examination, "_gpu", lambda: (find_gpu("H100")[0], "this machine's GPU"))
    assert run(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["gpu"] == "H100-SXM"
    assert found["calibrated_on"] == 0
    assert any("advisor profile --campaign" in step for step in found["to_do"])
    monkeypatch.setattr(examination, "_gpu", lambda: (find_gpu("L40S")[0], "this machine's GPU"))
    assert run(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["calibrated_on"] == 17


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("advisor rec", "recommend"),
        ("advisor estimate --grad", "--gradient-checkpointing"),
        ("advisor estimate --model meta-llama/Llama-3.2", "meta-llama/Llama-3.2-3B"),
        ("advisor recommend --gpu h1", "H100-SXM"),
        ("advisor recommend --method lora,dor", "lora,dora"),
    ],
)
def test_a_shell_completes_verbs_options_and_names(words, expected, tmp_path):
    environment = {**os.environ, "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    environment |= {"_ADVISOR_COMPLETE": "bash_complete", "ADVISOR_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "advisor.interfaces.cli.main"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert f"plain,{expected}" in done.stdout.splitlines(), done.stderr
