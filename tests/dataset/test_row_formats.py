"""Every format of rows that people have is understood, or refused by its name; no text is lost without a word."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.dataset import read_rows
from advisor.dataset.columns import Column, Columns, named_columns
from advisor.dataset.row_formats import ROW_FORMATS, recognised
from advisor.errors import BadFile, BadRequest

Row = dict[str, Any]
ASKED, SAID = {"role": "user", "content": "how"}, {"role": "assistant", "content": "so"}

EXAMPLES: dict[str, list[Row]] = {
    "pictures-or-sound": [
        {"image": "a/b.jpg", "text": "x"},
        {"image": {"bytes": b"\xff\xd8\xff".hex(), "path": "1.png"}, "label": 1},
        {"images": ["data:image/png;base64,iVBOR"], "messages": [ASKED, SAID]},
        {"audio": {"array": [0.1], "sampling_rate": 16000}, "text": "x"},
        {"file": "x.wav", "transcription": "x"},
        {"conversations": [{"from": "human", "value": "<image>\nwhat"}, {"from": "gpt", "value": "a"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}, SAID]},
        {"photo": "iVBORw0KGgoAAAANSUhEUg", "caption": "x"},
    ],
    "preference": [
        {"prompt": "a", "chosen": "b", "rejected": "c"},
        {"chosen": "a b", "rejected": "a c"},
        {"prompt": "a", "messages": [ASKED, SAID], "chosen": [ASKED, SAID], "rejected": [ASKED, SAID]},
    ],
    "kto": [
        {"prompt": "a", "completion": "b", "label": True},
        {"prompt": "a", "completion": "b", "label": "false"},
        {"messages": [ASKED, SAID], "kto_tag": False},
    ],
    "token-ids": [{"input_ids": [1, 2, 3], "labels": [1, 2, 3]}, {"input_ids": [1, 2], "text": "a"}],
    "signed-answers": [],
    "stepwise": [{"prompt": "a", "completions": ["b", "c"], "labels": [True, False]}],
    "token-classification": [
        {"tokens": ["a", "b"], "ner_tags": [0, 1]},
        {"words": ["a", "b"], "pos": ["N", "V"]},
    ],
    "extractive-qa": [{"context": "a b", "question": "c", "answers": {"text": ["b"], "answer_start": [2]}}],
    "multiple-choice": [
        {"question": "a", "choices": ["b", "c"], "answer": 1},
        {"ctx": "a", "endings": ["b", "c"], "label": "1"},
    ],
    "triplets": [{"anchor": "a", "positive": "b", "negative": "c"}, {"query": "a", "pos": ["b"], "neg": ["c"]}],
    "scored-pairs": [
        {"sentence1": "a", "sentence2": "b", "score": 0.5},
        {"sentence1": "a", "sentence2": "b", "label": 3.8},
    ],
    "pairs": [{"sentence1": "a", "sentence2": "b"}],
    "multi-label": [{"text": "a", "labels": [1, 2]}, {"text": "a", "label": ["x"]}],
    "regression": [{"text": "a", "score": 3.25}, {"text": "a", "label": 0.5}],
    "graded-text": [{"text": "a", "stars": 4}],
    "messages": [
        {"messages": [ASKED, SAID]},
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
        {"conversation": [{"system": "s", "input": "a", "output": "b"}]},
        {"messages": json.dumps([ASKED, SAID])},
        {"messages": [ASKED, SAID], "tools": [{"type": "function", "function": {"name": "f"}}]},
    ],
    "text-label": [{"text": "a", "label": 1}, {"Sentence": "a", "Sentiment": "good"}],
    "prompt-completion-turns": [{"prompt": [ASKED], "completion": [SAID]}],
    "instruction-with-history": [
        {"instruction": "a", "input": "b", "output": "c", "history": [["d", "e"]]},
        {"instruction": "a", "output": "c", "system": "s"},
    ],
    "prompt-completion": [
        {"instruction": "a", "input": "b", "output": "c", "history": [], "system": ""},
        {"query": "a", "response": "b"},
        {"problem": "a", "solution": "b"},
    ],
    "translation": [{"translation": {"en": "a", "fr": "b"}}],
    "prompts": [{"prompt": "a"}, {"prompt": [ASKED], "answer": "b"}],
    "text": [{"text": "a"}],
}


def write(folder: Path, rows: list[Row], name: str = "a.jsonl") -> Path:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / name


def test_two_columns_of_zeros_and_ones_are_several_labels_and_one_is_none():
    rows = [{"text": f"a {at}", "joy": at % 2, "anger": at % 3 == 0} for at in range(40)]
    found = recognised(Columns([{**row, "anger": int(row["anger"])} for row in rows]))
    assert found is not None
    assert (found[0].name, found[1]) == ("multi-label", {"text": ("text",), "labels": ("joy", "anger")})
    lone = recognised(Columns([{"text": row["text"], "joy": row["joy"]} for row in rows]))
    assert lone is None or lone[0].name != "multi-label"


def test_every_format_of_the_table_has_an_example():
    assert set(EXAMPLES) == {entry.name for entry in ROW_FORMATS}


@pytest.mark.parametrize(("name", "row"), [(name, row) for name, rows in EXAMPLES.items() for row in rows])
def test_rows_are_known_by_their_format(name: str, row: Row, tmp_path: Path):
    found = recognised(Columns([row]))
    assert found is not None
    assert found[0].name == name
    path = write(tmp_path, [row] * 3)
    if found[0].status == "trained":
        rows = read_rows(path)
        assert (rows.layout.format, rows.kind, rows.usable) == (name, found[0].kind, 3)
        return
    with pytest.raises(BadRequest) as caught:
        read_rows(path)
    assert caught.value.exit_code == 2
    assert caught.value.fields["row_format"] == name
    assert "{" not in str(caught.value), "every name is filled in"


@pytest.mark.parametrize(
    "row",
    [
        row
        for name, rows in EXAMPLES.items()
        for row in rows
        if name in ("scored-pairs", "graded-text", "regression", "pictures-or-sound")
    ],
)
def test_what_an_error_says_to_type_works(row: Row, tmp_path: Path):
    path = write(tmp_path, [row, {**row, **{k: 2 for k, v in row.items() if isinstance(v, int)}}])
    with pytest.raises(BadRequest) as caught:
        read_rows(path)
    for columns in re.findall(r"--columns (\S+)", str(caught.value)):
        assert read_rows(path, columns=columns).count == 2


def example_of(tmp_path: Path, row: Row, **how: Any) -> Any:
    (found,) = read_rows(write(tmp_path, [row]), **how).examples()
    return found


def test_what_an_instruction_is_about_is_joined(tmp_path: Path):
    dolly = example_of(tmp_path, {"instruction": "sum up", "context": "a text", "response": "b", "category": "c"})
    assert (dolly.text, dolly.target) == ("sum up\n\na text", "b")
    both = example_of(tmp_path, {"instruction": "i", "input": "x", "context": "y", "output": "o"})
    assert both.text == "i\n\nx\n\ny"


def test_long_texts_are_no_chats(tmp_path: Path):
    rows = [{"query": f"{i} " + "why " * 99, "response": f"{i} " + "so " * 99} for i in range(9)]
    assert read_rows(write(tmp_path, rows)).layout.format == "prompt-completion"
    assert read_rows(write(tmp_path, [{"messages": json.dumps([ASKED, SAID] * 9)}])).kind == "messages"


def test_system_and_history_become_turns(tmp_path: Path):
    row = {"instruction": "q2", "input": "", "output": "a2", "system": "s", "history": [["q1", "a1"]]}
    roles = [(m["role"], m["content"]) for m in example_of(tmp_path, row).messages]
    turns = [("system", "s"), ("user", "q1"), ("assistant", "a1"), ("user", "q2"), ("assistant", "a2")]
    assert roles == turns


def test_a_history_that_comes_late_in_the_file_counts_for_all_rows(tmp_path: Path):
    plain = [{"instruction": f"q{i}", "output": "a", "history": []} for i in range(700)]
    late = {"instruction": "q", "output": "a", "history": [["old", "new"]]}
    rows = read_rows(write(tmp_path, [*plain, late]))
    assert rows.kind == "messages"
    assert {len(example.messages) for example in rows.examples()} == {2, 4}


def test_tools_calls_and_their_arguments_reach_the_template(tmp_path: Path):
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    said = {"role": "assistant", "content": None, "tool_calls": [call]}
    row = {"messages": [ASKED, said, {"role": "tool", "tool_call_id": "1", "content": "r"}], "tools": '[{"name": "f"}]'}
    example = example_of(tmp_path, row)
    assert example.messages[1]["tool_calls"][0]["function"]["arguments"] == {"x": 1}
    assert example.messages[2] == {"role": "tool", "content": "r", "tool_call_id": "1"}
    assert example.tools == ({"name": "f"},)
    assert not example.empty


def test_a_column_with_text_that_is_not_read_is_named_with_its_share(tmp_path: Path):
    row = {"text": "x" * 49, "other": "y" * 51, "id": 7}
    assert read_rows(write(tmp_path, [row])).notes == ("column 'other' (51 % of the characters) is not used",)


@pytest.mark.parametrize("marks", [(1, -1), ("1", "-1"), (1.0, -1.0)])
def test_answers_marked_by_a_sign_are_refused_whoever_asks(tmp_path: Path, marks: tuple[Any, Any]):
    rows = [{"prompt": "a", "completion": "b", "label": mark} for mark in marks]
    for also in ((), ("preference", "kto")):
        with pytest.raises(BadRequest, match="by 1 and -1 in 'label'"):
            read_rows(write(tmp_path, rows), also=also)


@pytest.mark.parametrize("name", ["score", "margin", "weight", "quality_score", "rating"])
def test_numbers_that_weigh_or_grade_rows_are_named(tmp_path: Path, name: str):
    rows = [{"prompt": "a", "completion": "b", name: at / 3, "id": at, "size": at} for at in range(4)]
    assert read_rows(write(tmp_path, rows)).notes == (f"the numbers in {name!r} are not used: each row counts alike",)


def told(tmp_path: Path, rows: list[Row]) -> str:
    with pytest.raises(BadFile) as caught:
        read_rows(write(tmp_path, rows))
    return str(caught.value)


def test_a_hint_never_names_what_cannot_be_read(tmp_path: Path):
    assert "'response' empty in every row" in told(tmp_path, [{"instruction": "a", "response": ""}] * 3)
    turns = told(tmp_path, [{"conversations": ["a", "b"]}] * 3)
    assert "'role'" in turns
    assert "--columns" not in turns
    origin = told(tmp_path, [{"source": "web", "instruction": f"a {at}", "models": ["m"]} for at in range(9)])
    assert "--columns text=instruction\n" in origin + "\n"


# -- columns named ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", ["text=utterance,label=intent", {"text": "utterance", "label": "intent"}])
def test_columns_can_be_named(tmp_path: Path, columns: Any):
    rows = read_rows(write(tmp_path, [{"utterance": "a", "intent": "b"}]), columns=columns)
    assert (rows.kind, rows.task, rows.labels) == ("text-label", "sequence-classification", ("b",))


def test_several_columns_make_one_text_and_parts_of_objects_can_be_named(tmp_path: Path):
    row = {"title": "t", "abstract": "a", "category": "c"}
    assert example_of(tmp_path, row, columns="text=title+abstract,label=category").text == "t\na"
    row = {"translation": {"en": "a", "fr": "b"}}
    found = example_of(tmp_path, row, columns="prompt=translation.en,completion=translation.fr")
    assert (found.text, found.target) == ("a", "b")


def test_naming_the_text_alone_reads_the_text_alone(tmp_path: Path):
    rows = read_rows(write(tmp_path, [{"text": "aaa", "chosen": "b", "rejected": "c"}]), columns="text=text")
    assert rows.kind == "text"
    assert rows.notes == ("columns 'chosen' (20 % of the characters) and 'rejected' (20 %) are not used",)


def test_answers_marked_bad_are_never_trained_on_without_a_word(tmp_path: Path):
    row = {"prompt": "a", "completion": "b", "label": False}
    rows = read_rows(write(tmp_path, [row]), columns="prompt=prompt,completion=completion")
    assert any("marks as bad" in note for note in rows.notes)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ("textt=a", "'textt' may be meant as 'text'"),
        ("text=nothing", "no column 'nothing'"),
        ("text=", "has no column"),
        ("text=a,text=b", "named twice"),
        ("prompt=a", "which column"),
        ("utterance", "roles are"),
    ],
)
def test_columns_that_make_no_sense_are_refused(tmp_path: Path, columns: str, says: str):
    with pytest.raises(BadRequest, match=re.escape(says)):
        read_rows(write(tmp_path, [{"a": "x y", "b": "z"}]), columns=columns)


def test_other_words_for_a_role_are_understood():
    assert named_columns("instruction=a,output=b") == {"prompt": ("a",), "completion": ("b",)}


@pytest.mark.parametrize(
    ("rows", "hint"),
    [
        ([{"utterance": f"say {i}", "intent": f"i{i % 3}"} for i in range(9)], "text=utterance,label=intent"),
        ([{"v1": "ham" if i % 2 else "spam", "v2": f"text {i} and more"} for i in range(9)], "text=v2,label=v1"),
        ([{"user": f"q {i}", "assistant": f"a {i}"} for i in range(9)], "prompt=user,completion=assistant"),
    ],
)
def test_unknown_columns_are_offered_by_what_they_mean_or_hold(tmp_path: Path, rows: list[Row], hint: str):
    path = write(tmp_path, rows)
    with pytest.raises(BadFile) as caught:
        read_rows(path)
    assert f"--columns {hint}" in str(caught.value)
    assert read_rows(path, columns=hint).count == 9


# -- labels ----------------------------------------------------------------------------------------------------


def test_rows_without_a_label_are_left_out_and_said(tmp_path: Path):
    rows = [{"text": f"t{i}", "label": i % 4 - 1} for i in range(12)]
    found = read_rows(write(tmp_path, rows))
    assert (found.count, found.labels) == (9, (0, 1, 2))
    assert "3 of 12 rows have the label -1 (unlabelled) and are left out" in found.notes
    assert len(list(found.examples())) == 9


def test_a_label_of_minus_one_that_may_be_a_class_is_asked_about(tmp_path: Path):
    with pytest.raises(BadRequest, match="may mean unlabelled"):
        read_rows(write(tmp_path, [{"text": f"t{i}", "label": i % 3 - 1} for i in range(9)]))
    with_two = read_rows(write(tmp_path, [{"text": f"t{i}", "label": i % 2 * 2 - 1} for i in range(9)]))
    assert with_two.labels == (-1, 1)


def test_labels_where_a_language_model_is_asked_for_are_its_completions(tmp_path: Path):
    rows = read_rows(write(tmp_path, [{"text": "a", "label": 1}]), "causal-lm")
    assert rows.kind == "prompt-completion"
    assert [(e.text, e.target) for e in rows.examples()] == [("a", "1")]


def test_an_encoder_decoder_is_trained_for_its_own_task(tmp_path: Path):
    path = write(tmp_path, [{"input": "a", "target": "b"}])
    assert read_rows(path, usual_task="seq2seq").task == "seq2seq"
    assert read_rows(path).task == "causal-lm"


@pytest.mark.parametrize("wrong", [["a"], 0.5, {"a": 1}])
def test_one_wrong_cell_does_not_make_a_file_another_format(tmp_path: Path, wrong: Any):
    for column, row in (("label", {"text": "a", "label": "b"}), ("text", {"text": "a"}), ("output", {"input": "a"})):
        rows = [{**row, column: "b"}] * 9
        with pytest.raises(BadFile) as caught:
            read_rows(write(tmp_path, [*rows, {**row, column: wrong}]))
        assert caught.value.fields["line"] == 10


# -- the law -----------------------------------------------------------------------------------------------------

NAMES = ("text", "label", "prompt", "completion", "instruction", "input", "output", "context", "system", "response")
NAMES = (*NAMES, "question", "answer", "category", "notes", "url", "id", "Text", "source")
words = st.text("abc xyz", min_size=1, max_size=30).filter(lambda text: text.strip())


@settings(deadline=None, max_examples=150)
@given(
    st.sets(st.sampled_from(NAMES), min_size=1, max_size=7).flatmap(
        lambda names: st.lists(st.fixed_dictionaries(dict.fromkeys(sorted(names), words)), min_size=1, max_size=6)
    )
)
def test_no_text_is_lost_without_a_word(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]):
    """Characters of the examples and of the columns named as unused are all characters of the file."""
    path = write(tmp_path_factory.mktemp("d"), rows)
    try:
        found = read_rows(path)
    except (BadFile, BadRequest):
        return
    named = {name for note in found.notes if "not used" in note for name in re.findall(r"'([^']+)' \(", note)}
    unused = sum(len(row[name]) for row in rows for name in named)
    used = 0
    for example in found.examples():
        joins = 2 * example.text.count("\n\n") + 0
        used += example.characters - joins + len(str(example.label or ""))
        if example.messages:
            used -= sum(2 * message["content"].count("\n\n") for message in example.messages)
    assert used + unused == sum(len(value) for row in rows for value in row.values())


@pytest.mark.parametrize(
    "rows",
    [
        [{"text": "x", "label": 10**400}] * 4,
        [{"messages": [ASKED, None, SAID]}] * 4,
        [{"text": "x", "label": float("nan"), "summary": "y"}] * 4,
    ],
)
def test_an_odd_cell_is_no_bug_of_ours(tmp_path: Path, rows: list[Row]):
    path = tmp_path / "odd.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    with contextlib.suppress(BadFile, BadRequest):
        read_rows(path)


def test_rows_without_a_label_are_left_out_for_a_language_model_too(tmp_path: Path):
    rows = [{"text": f"t{i}", "label": label} for i, label in enumerate([-1, 0, 1, 2] * 3)]
    path = tmp_path / "labels.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    for task in (None, "causal-lm"):
        found = read_rows(path, task)
        assert found.count == 9, task
        assert any("unlabelled" in note for note in found.notes)


def test_a_long_chat_loses_its_end_and_not_its_tools(tmp_path: Path):
    call = {"role": "assistant", "content": "c", "tool_calls": [{"function": {"name": "f", "arguments": "x" * 50_000}}]}
    row = {"messages": [ASKED, *[call] * 12, SAID], "tools": [{"type": "function", "function": {"name": "f"}}]}
    path = tmp_path / "agent.jsonl"
    path.write_text("\n".join([json.dumps(row)] * 3), encoding="utf-8")
    example = read_rows(path).sample[0].example
    assert example.tools
    assert any("tool_calls" in turn for turn in example.messages)
    assert len(example.messages) < 14


def test_a_path_in_nobodys_home_is_a_bad_file():
    with pytest.raises(BadFile, match="not here"):
        read_rows("~nobody-of-that-name/rows.jsonl")


def test_a_column_of_chats_is_called_after_what_most_of_its_messages_show():
    def said(kind):
        return {"role": "user", "content": [{"type": kind}]}

    column = Column("messages")
    for kind in ("audio", "image", "image"):
        column.add([said(kind)])
    assert column.media_kind() == "pictures"
    lone = Column("message")
    for _ in range(2):
        lone.add(said("image"))
    assert lone.media_kind() == "pictures"
    lone.add({"role": "user", "content": "words"})
    assert lone.media_kind() is None


@pytest.mark.parametrize(
    ("name", "values", "left_out"),
    [
        ("Unnamed: 0", [0, 1, 2], True),
        ("__index_level_0__", ["0", "1", "2"], True),
        ("Unnamed: 3", ["x", "y", "z"], False),
        ("chapter", [0, 1, 2], False),
    ],
)
def test_row_numbers_that_were_written_with_the_rows_are_told_from_numbers_and_text(
    tmp_path: Path, name: str, values: list[Any], left_out: bool
):
    found = read_rows(write(tmp_path, [{"prompt": "a", "completion": "b", name: value} for value in values]))
    assert (f"the row numbers in {name!r} are left out" in found.notes) == left_out
