"""Splits: no row lost, none shared, every doubt said, bad rows refused with their place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.dataset.splits import load_splits, make_splits, read_split, write_splits
from advisor.errors import BadFile, BadRequest
from tests.tiny_models import answered, chats, labelled, put_rows

rows_of_classes = st.lists(
    st.builds(lambda t, c: {"text": f"t{t}", "label": f"c{t % c}"}, st.integers(0, 60), st.just(3)),
    min_size=40,
    max_size=120,
)


@given(rows_of_classes, st.integers(0, 5))
def test_splits_share_no_text_and_lose_no_row(rows, seed):
    if len({r["label"] for r in rows}) < 2:
        return
    try:
        parts, splits = make_splits({"train": list(rows)}, "text-label", seed=seed)
    except BadRequest:
        return
    assert sorted(map(str, rows)) == sorted(str(r) for part in parts.values() for r in part)
    texts = [{r["text"] for r in part} for part in parts.values()]
    assert not texts[0] & texts[1]
    assert not texts[0] & texts[2]
    assert not texts[1] & texts[2]
    assert not any("leak" in note for note in splits.notes)


def test_the_same_file_and_seed_cut_the_same_splits():
    first = make_splits({"train": labelled(100)}, "text-label", seed=3)[1]
    again = make_splits({"train": labelled(100)}, "text-label", seed=3)[1]
    other = make_splits({"train": labelled(100)}, "text-label", seed=4)[1]
    assert first.sha256 == again.sha256
    assert first.sha256 != other.sha256


def test_a_stratified_cut_holds_every_class():
    rows = [{"text": f"a{i}", "label": "rare" if i < 6 else "usual"} for i in range(100)]
    parts, _ = make_splits({"train": rows}, "text-label", seed=0)
    for part in parts.values():
        assert {r["label"] for r in part} == {"rare", "usual"}


def test_three_rows_are_refused():
    with pytest.raises(BadRequest, match="3 usable rows: too few"):
        make_splits({"train": labelled(3)}, "text-label", seed=0)


def test_one_class_is_refused():
    rows = [{"text": f"t{i}", "label": "only"} for i in range(30)]
    with pytest.raises(BadRequest, match="one class only: 'only'"):
        make_splits({"train": rows}, "text-label", seed=0)


def test_one_text_with_two_labels_is_a_leak_and_never_on_both_sides_of_a_cut():
    given = [{"text": "Same  text", "label": "good"}, *labelled(40)]
    _, splits = make_splits(
        {"train": given, "evaluation": [{"text": "same text", "label": "bad"}]}, "text-label", seed=0
    )
    assert any(note.startswith("leak: 1 of 1 evaluation rows are also train rows") for note in splits.notes)
    twice = [{"text": f"t{i}", "label": label} for i in range(30) for label in ("good", "bad")]
    for seed in range(3):
        _, splits = make_splits({"train": twice}, "text-label", seed=seed)
        assert not any("leak" in note for note in splits.notes)


def test_a_label_no_training_row_has_is_refused():
    with pytest.raises(BadRequest, match="evaluation rows have labels that no training row has: unseen"):
        make_splits({"train": labelled(20), "evaluation": [{"text": "x", "label": "unseen"}]}, "text-label", seed=0)


def test_labels_the_evaluation_rows_lack_are_told():
    few = [r for r in labelled(20, seed=9) if r["label"] == "good"]
    _, splits = make_splits({"train": labelled(40), "evaluation": few}, "text-label", seed=0)
    assert "evaluation: no row of 1 of 2 labels (bad); its scores say nothing of them" in splits.notes
    assert not any(note.startswith("test: no row") for note in splits.notes)


def test_what_one_answer_to_every_row_would_score_is_told():
    train = [*labelled(40), *({"text": f"also {i}", "label": "good"} for i in range(9))]
    asked = [{"text": f"x {i}", "label": "bad" if i else "good"} for i in range(4)]
    _, splits = make_splits({"train": train, "evaluation": asked, "test": labelled(10, seed=9)}, "text-label", seed=0)
    told = "always the commonest label, 'good', is an accuracy of 0.2500 on evaluation and 0.5000 on test rows"
    assert told in splits.notes


def test_rows_shared_between_given_files_are_told_as_a_leak():
    rows = labelled(40)
    _, splits = make_splits({"train": rows, "evaluation": rows[:7], "test": labelled(10, seed=9)}, "text-label", seed=0)
    assert any("leak: 7 of 7 evaluation rows are also train rows" in note for note in splits.notes)


def test_labels_missing_in_the_evaluation_file_are_refused(tmp_path):
    train = put_rows(tmp_path / "a.jsonl", labelled(30))
    evaluation = put_rows(tmp_path / "b.jsonl", [{"text": "no label here"}])
    with pytest.raises((BadFile, BadRequest), match="label"):
        load_splits(str(train), str(evaluation), None, None, seed=0)


def test_empty_rows_are_dropped_and_counted(tmp_path):
    rows = [*labelled(30), {"text": "  ", "label": "good"}]
    _, splits, task = load_splits(str(put_rows(tmp_path / "a.jsonl", rows)), None, None, None, seed=0)
    assert task == "sequence-classification"
    assert any("1 row dropped" in note for note in splits.notes)
    assert sum(splits.rows.values()) == 30


@pytest.mark.parametrize(
    ("rows", "kind"),
    [(answered(20), "prompt-completion"), (chats(20), "messages"), ([{"text": f"t {i}"} for i in range(20)], "text")],
    ids=["pairs", "chats", "text"],
)
def test_every_layout_keeps_its_content(tmp_path, rows, kind):
    parts, splits, _ = load_splits(str(put_rows(tmp_path / "a.jsonl", rows)), None, None, None, seed=0)
    assert splits.kind == kind
    back = [r for part in parts.values() for r in part]
    assert sorted(json.dumps(r, sort_keys=True) for r in back) == sorted(json.dumps(r, sort_keys=True) for r in rows)


def test_a_changed_split_file_is_refused(tmp_path):
    parts, splits = make_splits({"train": labelled(40)}, "text-label", seed=0)
    write_splits(parts, tmp_path)
    assert read_split(tmp_path, "train", splits) == parts["train"]
    (tmp_path / "train.jsonl").write_text('{"text": "other", "label": "good"}\n')
    with pytest.raises(BadRequest, match="is changed"):
        read_split(tmp_path, "train", splits)
    (tmp_path / "train.jsonl").unlink()
    with pytest.raises(BadRequest, match="is missing"):
        read_split(tmp_path, "train", splits)
