"""`advisor estimate`: the keys scripts rely on, and many cases from a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from advisor.interfaces.cli.main import run

TINY = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path_factory.getbasetemp() / "estimate-home"))


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(TINY))
    return str(folder)


def answers(capsys, *arguments, code=0):
    assert run(["estimate", *arguments]) == code
    shown = capsys.readouterr()
    return [json.loads(line) for line in shown.out.splitlines()], shown.err


def lines(tmp_path, *cases):
    path = tmp_path / "cases.jsonl"
    path.write_text("\n".join(case if isinstance(case, str) else json.dumps(case) for case in cases) + "\n")
    return str(path)


def test_the_keys_that_scripts_rely_on_are_there(model, capsys, tmp_path):
    config = tmp_path / "adapter_config.json"
    config.write_text(json.dumps({"peft_type": "LORA", "r": 8, "target_modules": ["q_proj", "v_proj"]}))
    asked = ["--model", model, "--gpu", "L40S", "--adapter-config", str(config), "--batch-size", "4"]
    asked += ["--seq-len", "128", "--mean-seq-len", "60", "--dtype", "bfloat16", "--optimizer", "adamw_torch"]
    asked += ["--no-gradient-checkpointing", "--trainer", "loop", "--json"]
    assert run(["estimate", *asked]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trainable_parameters"] == 2 * 8 * (64 + 64 + 64 + 32)
    for name in ("peak_allocated", "peak_reserved"):
        quantity = found["memory"][name]
        assert set(quantity) == {"low", "mid", "high", "unit", "basis", "why"}
        assert 0 < quantity["low"] <= quantity["mid"] <= quantity["high"]
        assert quantity["unit"] == "B"
    assert found["time"]["step"]["unit"] == "s"
    assert found["time"]["step"]["mid"] > 0


def test_cases_are_answered_in_order_and_a_bad_line_stops_none(model, capsys, tmp_path):
    good = {"model": model, "gpu": "L40S", "method": "lora", "rank": 4, "batch_size": 2, "seq_len": 64}
    path = lines(
        tmp_path,
        good,
        "not json",
        [1, 2],
        {**good, "gpu": "L40T"},
        "",
        {**good, "batch_size": 0},
        {**good, "batch_sise": 1},
        {**good, "seq_len": 513},
        {**good, "method": "loraa"},
        {**good, "rank": 8},
    )
    found, _ = answers(capsys, "--from", path)
    assert [f.get("error") for f in found] == [
        None,
        "BadRequest",
        "BadRequest",
        "UnknownName",
        "BadRequest",
        "BadRequest",
        "BadRequest",
        "UnknownName",
        None,
    ]
    assert [f["line"] for f in found if "line" in f] == [2, 3, 4, 6, 7, 8, 9]
    assert found[-1]["trainable_parameters"] == 2 * found[0]["trainable_parameters"]


@pytest.mark.slow
def test_options_given_are_defaults_of_every_line(model, capsys, tmp_path):
    path = lines(tmp_path, {"batch_size": 2}, {"gpu": "T4"})
    found, _ = answers(capsys, "--from", path, "--model", model, "--gpu", "L40S", "--method", "lora", "--seq-len", "64")
    assert [f["gpu"] for f in found] == ["L40S", "T4"]
    assert found[0]["recipe"]["micro_batch_size"] == 2


def test_when_no_line_was_answered_the_exit_code_is_the_first_errors(capsys, tmp_path):
    found, _ = answers(capsys, "--from", lines(tmp_path, "{}", "{"), code=2)
    assert len(found) == 2


def test_a_bug_in_one_line_costs_no_other(model, capsys, tmp_path, monkeypatch):
    from advisor.estimator import estimate as door

    honest = door.answer

    def answer(request):
        if request.batch_size == 3:
            raise ZeroDivisionError("a bug")
        return honest(request)

    monkeypatch.setattr(door, "answer", answer)
    good = {"model": model, "gpu": "L40S", "method": "lora", "seq_len": 64}
    found, said = answers(capsys, "--from", lines(tmp_path, {**good, "batch_size": 3}, good))
    assert found[0]["error"] == "ZeroDivisionError"
    assert "ZeroDivisionError: a bug" in Path(found[0]["traceback"]).read_text()
    assert found[1]["fits"]
    assert "Traceback" not in said


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_a_file_without_cases_is_a_bad_file(capsys, tmp_path, content):
    path = tmp_path / "cases.jsonl"
    path.write_text(content)
    assert run(["estimate", "--from", str(path)]) == 4


def test_a_file_that_is_not_there_or_binary_is_told_so(capsys, tmp_path):
    assert run(["estimate", "--from", str(tmp_path / "none.jsonl")]) == 4
    assert run(["estimate", "--from", str(tmp_path)]) == 4
    binary = tmp_path / "x.bin"
    binary.write_bytes(b"\x00\xff\xfe" * 50)
    found, _ = answers(capsys, "--from", str(binary), code=2)
    assert found[0]["error"] == "BadRequest"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--model", "meta-llama/Llama-3.2-3B", "--method", "lora"],
        ["--model", "meta-llama/Llama-3.2-3B", "--gpu", "L40S"],
        ["--model", "meta-llama/Llama-3.2-3B", "--gpu", "L40S", "--method", "lora", "--option", "rank"],
    ],
)
def test_what_is_missing_is_asked_for(capsys, arguments):
    assert run(["estimate", *arguments]) == 2
    assert "Error" in capsys.readouterr().err


def test_people_see_four_answers_with_intervals(model, capsys):
    asked = ["--model", model, "--gpu", "L40S", "--method", "lora", "--seq-len", "64", "--samples", "500"]
    assert run(["estimate", *asked, "--target-modules", "q_proj,v_proj", "--explain"]) == 0
    shown = capsys.readouterr().out
    for words in ("peak memory", "one step", "training", "price", "quality vs full", "base weights"):
        assert words in shown


@pytest.mark.slow
def test_what_does_not_fit_names_a_change_that_does(model, capsys):
    asked = ["--model", model, "--gpu", "T4", "--method", "lora", "--seq-len", "512", "--json"]
    run(["estimate", *asked, "--batch-size", "4096"])
    found = json.loads(capsys.readouterr().out)
    assert not found["fits"]
    change = next(said for said in found["facts"]["to_fit"] if said.startswith("--batch-size"))
    run(["estimate", *asked, *change.partition(":")[0].split()])
    again = json.loads(capsys.readouterr().out)
    assert again["fits"]
    assert f"{again['memory']['peak_device']['mid'] / 2**30:.1f} GiB" in change
