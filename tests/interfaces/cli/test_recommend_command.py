"""`advisor recommend` from the command line to the real estimator, on a model small enough to trace in a test."""

from __future__ import annotations

import gzip
import json

import pytest

from advisor.domain.recommendation import Recommendation
from advisor.interfaces.amounts import stacked
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
WIDE = {**TINY, "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32, "vocab_size": 200_000}


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path_factory.getbasetemp() / "recommend-home"))


def folder(tmp_path, config):
    place = tmp_path / "model"
    place.mkdir()
    (place / "config.json").write_text(json.dumps(config))
    return str(place)


@pytest.fixture
def tiny(tmp_path):
    return ["recommend", "--model", folder(tmp_path, TINY), "--gpu", "L4", "--method", "lora,full", "--seq-len", "128"]


def test_the_answer_is_a_recommendation_with_figures_of_the_real_step(tiny, capsys):
    assert run([*tiny, "--samples", "1000", "--json"]) == 0
    found = Recommendation.from_document(json.loads(capsys.readouterr().out))
    assert {c.recipe.method for c in found.ranked} | {r.method for r in found.refused} == {"lora", "full"}
    choice = found.choice
    assert choice.fits
    assert choice.trainable_parameters > 0
    assert choice.memory.breakdown["base weights"] >= 2 * choice.total_parameters * 0.9
    assert choice.time.training.mid == pytest.approx(choice.time.step.mid * found.workload.optimizer_steps(), rel=1e-6)
    assert choice.money.on_demand.mid > 0
    assert choice.quality.studies >= 0


def test_people_are_told_the_choice_its_reasons_and_the_policy(tiny, capsys):
    assert run([*tiny, "--samples", "1000", "--explain"]) == 0
    shown = capsys.readouterr()
    for words in ("Use ", "why", "policy", "learning_rate", "evidence for", "side effects of ", "general ability"):
        assert words in shown.out
    assert "Traceback" not in shown.err


def test_without_being_asked_the_answer_is_short(tiny, capsys):
    assert run([*tiny, "--samples", "1000"]) == 0
    short = capsys.readouterr().out
    assert "conflict" not in short
    assert "learning_rate" in short
    assert "policy" not in short


def test_the_users_file_sets_samples_lengths_and_task(tiny, tmp_path, capsys):
    path = tmp_path / "train.jsonl.gz"
    with gzip.open(path, "wt") as file:
        for i in range(40):
            file.write(json.dumps({"text": "word " * (5 + i), "label": ["ham", "spam", "eggs"][i % 3]}) + "\n")
    asked = [part for part in tiny if part not in ("--seq-len", "128")]
    assert run([*asked, "--data", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    workload = found["workload"]
    assert workload["samples"] == 40
    assert workload["task"] == "sequence-classification"
    assert workload["num_labels"] == 3
    assert workload["seq_len"] < 512
    padded = {c["recipe"]["micro_batch_size"]: c["workload"]["mean_seq_len"] for c in found["ranked"]}
    assert all(mean >= workload["mean_seq_len"] for mean in padded.values())


@pytest.mark.exhaustive
def test_what_does_not_fit_ends_with_three_and_says_how_far_it_is(tmp_path, capsys):
    asked = ["recommend", "--model", folder(tmp_path, WIDE), "--gpu", "T4", "--method", "full", "--seq-len", "64"]
    assert run([*asked, "--json"]) == 3
    facts = json.loads(capsys.readouterr().out)
    assert facts["error"] == "DoesNotFit"
    assert facts["need_bytes"] > facts["limit_bytes"]
    assert facts["larger_gpus"]
    assert run(asked) == 3
    said = capsys.readouterr().err
    assert "largest part" in said
    assert "to fit" in said


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (["--samples", "0"], 2),
        (["--samples", "many"], 2),
        (["--seq-len", "513"], 2),
        (["--seq-len", "-1"], 2),
        (["--gpu", "h10"], 2),
        (["--model", "no/such"], 2),
        (["--method", "loraa"], 2),
        (["--policy", "best"], 2),
        (["--task-type", "juggling"], 2),
        (["--data", "no-such-file.jsonl"], 4),
    ],
)
def test_a_wrong_request_ends_with_its_code_and_says_what_to_type(tiny, capsys, wrong, code):
    assert run([*tiny, *wrong]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("Error: ")
    assert len(shown.err.strip().splitlines()) > 1
    assert run([*tiny, *wrong, "--json"]) == code
    assert json.loads(capsys.readouterr().out)["exit_code"] == code


def test_the_model_and_the_gpu_are_asked_for(capsys):
    assert run(["recommend", "--model", "meta-llama/Llama-3.1-8B"]) == 2
    assert "--gpu" in capsys.readouterr().err
    assert run(["recommend", "--gpu", "H100"]) == 2
    assert "--model" in capsys.readouterr().err


@pytest.mark.parametrize("width", [80, 100, 140])
def test_no_figure_of_the_ranking_is_cut_however_narrow_the_terminal(tiny, capsys, monkeypatch, width):
    assert run([*tiny, "--samples", "1000", "--json"]) == 0
    found = Recommendation.from_document(json.loads(capsys.readouterr().out))
    monkeypatch.setenv("COLUMNS", str(width))
    assert run([*tiny, "--samples", "1000", "--explain"]) == 0
    shown = capsys.readouterr().out
    table = shown[: shown.index("settings")]
    said = ("Use ", "all ", "narrow ")
    assert max(len(line) for line in table.splitlines() if not line.startswith(said)) <= width
    for candidate in found.ranked:
        assert stacked(candidate.memory.peak_device).splitlines()[0] in table
        for figure in (candidate.time.training, candidate.money.on_demand, candidate.quality.effect):
            for line in stacked(figure).splitlines():
                assert line in table
    if width == 80:
        assert "left out; in a wider terminal" in table
