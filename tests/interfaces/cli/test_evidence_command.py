"""`advisor evidence` at the terminal."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from advisor.errors import BadFile, BadRequest, UnknownName
from advisor.interfaces.cli.evidence import command, parse_pilot


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(command, list(arguments), input=stdin, catch_exceptions=True)


QUESTION = ("--method", "lora", "--architecture", "decoder", "--model-params", "8B", "--samples", "2000")


def test_findings_and_the_prediction_are_shown():
    result = run(*QUESTION)
    assert result.exit_code == 0
    assert "expected effect against full fine-tuning" in result.stdout
    assert "https://" in result.stdout


def test_json_holds_findings_and_prediction():
    found = json.loads(run(*QUESTION, "--json").stdout)
    assert found["prediction"]["effect"]["low"] < found["prediction"]["effect"]["high"]
    assert found["bearing"][0]["finding"]["method"] == "lora"


def test_studies_and_task_types_are_listed():
    assert "unipelt2022" in run("--studies").stdout
    assert "summarization" in json.loads(run("--task-types", "--json").stdout)


def test_settings_are_shown_with_sources():
    found = json.loads(run(*QUESTION, "--settings", "--json").stdout)
    assert {"learning_rate", "rank", "target_modules"} <= {one["name"] for one in found}
    assert all(one["sources"] for one in found)
    assert "learning_rate" in run(*QUESTION, "--settings").stdout


def test_a_curve_is_shown():
    assert "within 1 point" in run("--curve", "prompt-tuning", "--architecture", "decoder").stdout


def test_a_pilot_is_extrapolated():
    found = json.loads(run("--pilot", "100:0.61,400:0.68", "--target", "0.75", "--json").stdout)
    assert found["samples"]["low"] < found["samples"]["mid"]
    assert "samples" in run("--pilot", "100:0.61,400:0.68", "--target", "0.75").stdout


def test_lines_are_predicted_in_order(tmp_path):
    case = {"architecture": "encoder", "model_params": 1.1e8, "task_type": "NLU", "n_train_samples": 100}
    lines = [json.dumps({**case, "method": method}) for method in ("bitfit", "lorra", "full_ft")]
    path = tmp_path / "cases.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    for result in (run("--predict", str(path)), run("--predict", "-", stdin="\n".join(lines))):
        answers = [json.loads(line) for line in result.stdout.splitlines()]
        assert [answer.get("method") for answer in answers] == ["bitfit", None, "full"]
        assert answers[1]["error"] == "UnknownName"
        assert result.exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--predict", "no-such-file.jsonl"), BadFile),
        (("--pilot", "100:0.6,400:0.7"), BadRequest),
        (("--target", "0.7"), BadRequest),
        (("--pilot", "100-0.6", "--target", "0.7"), BadRequest),
        (("--pilot", "100:,400:0.6", "--target", "0.7"), BadRequest),
        (("--pilot", ":0.5,400:0.6", "--target", "0.7"), BadRequest),
        (("--pilot", "0:0.5,400:0.6", "--target", "0.7"), BadRequest),
        (("--pilot", "100:nan,400:0.6", "--target", "0.7"), BadRequest),
        (("--pilot", "100:0.5,400:0.6", "--target", "nan"), BadRequest),
        (("--curve", "lora"), BadRequest),
        (("--settings",), BadRequest),
        (("--samples", "0"), BadRequest),
        (("--samples", "some"), BadRequest),
        (("--method", "lorra"), UnknownName),
        (("--task-type", "cooking"), UnknownName),
        (("--study", "nobody1999"), UnknownName),
    ],
)
def test_a_wrong_request_is_refused(arguments, error):
    assert isinstance(run(*arguments).exception, error)


def test_a_pilot_size_given_twice_is_refused():
    with pytest.raises(BadRequest, match="twice"):
        parse_pilot("100:0.6,100:0.7")
