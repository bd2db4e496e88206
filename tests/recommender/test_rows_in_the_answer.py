"""What is in the data is in the answer: notes on columns and encodings, rows that are far longer, the model's task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from advisor.errors import BadRequest
from advisor.recommender.infeasible import _shorter  # type: ignore[attr-defined]
from advisor.recommender.recommend_request import ResolvedRequest, checked, resolve


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def asked(folder: Path, rows: list[dict[str, Any]], model: str = "Qwen/Qwen2.5-0.5B", **more: Any) -> ResolvedRequest:
    path = folder / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return resolve(checked({"model": model, "gpu": "L4", "data": str(path), **more}))


def one_long() -> list[dict[str, Any]]:
    return [{"text": f"{i} " + "word " * (9000 if i == 7 else 90)} for i in range(400)]


def test_columns_that_are_not_read_are_in_the_notes(tmp_path: Path):
    found = asked(tmp_path, [{"text": "a b c", "url": "x" * 5}])
    assert "data: column 'url' (50 % of the characters) is not used" in found.notes


def test_columns_can_be_named_in_a_request(tmp_path: Path):
    rows = [{"utterance": f"say {i}", "intent": f"i{i % 3}"} for i in range(30)]
    for columns in ("text=utterance,label=intent", {"text": "utterance", "label": "intent"}):
        found = asked(tmp_path, rows, "google-bert/bert-base-uncased", columns=columns)
        assert (found.workload.task, found.workload.num_labels) == ("sequence-classification", 3)
    with pytest.raises(BadRequest, match="none is given"):
        resolve(checked({"model": "gpt2", "gpu": "L4", "columns": "text=a"}))


def test_empty_rows_are_no_samples(tmp_path: Path):
    assert asked(tmp_path, [{"text": "a"}, {"text": " "}, {"text": "b"}]).workload.samples == 2


def test_one_row_that_is_far_longer_is_told_with_what_would_cut_it(tmp_path: Path):
    found = asked(tmp_path, one_long())
    assert found.row_lengths is not None
    p95 = round(found.row_lengths.p95)
    (note,) = [note for note in found.notes if "decides memory" in note]
    assert f"1 of 400 rows is longer than {2 * p95} tokens; --seq-len {p95} cuts one in twenty" in note


def test_it_is_told_too_where_nothing_fits(tmp_path: Path, candidate: Any):
    found = asked(tmp_path, one_long())

    class Costs:
        def price(self, workload: Any, recipe: Any, hardware: Any, spec: Any) -> Any:
            return candidate("lora", gib=1).model_copy(update={"workload": workload, "fits": workload.seq_len <= 5000})

    hints = _shorter(found, candidate("lora"), Costs())  # type: ignore[arg-type]
    assert hints[0].startswith("to fit: --seq-len 4")
    assert "1 of 400 rows is longer than" in hints[1]
    assert "cuts one in twenty" in hints[1]


def test_rows_that_a_model_cannot_be_trained_on_are_what_the_error_speaks_of(tmp_path: Path):
    with pytest.raises(BadRequest) as caught:
        asked(tmp_path, [{"prompt": "a", "completion": "b"}], "google-bert/bert-base-uncased")
    assert "the rows of" in caught.value.message
    assert "prompt-completion" in caught.value.message


def test_an_encoder_decoder_takes_prompts_and_completions_as_its_own_task(tmp_path: Path):
    found = asked(tmp_path, [{"prompt": "a b", "completion": "b"}], "google-t5/t5-small")
    assert found.workload.task == "seq2seq"
    assert found.workload.target_len is not None
