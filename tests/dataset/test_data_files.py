"""Each format in each packing and encoding reads alike; what cannot be read is told in one sentence."""

from __future__ import annotations

import bz2
import contextlib
import csv
import gzip
import io
import json
import lzma
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.dataset import read_rows
from advisor.errors import AdvisorError, BadFile

Row = dict[str, Any]
ROWS: list[Row] = [{"text": "un café, très «bon»; yes", "label": "a"}, {"text": 'line\nbreak "q"', "label": "b"}]
READ = [(row["text"], row["label"]) for row in ROWS]


def zstd(content: bytes) -> bytes:
    return pyarrow.compress(content, codec="zstd", asbytes=True)


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": lambda content: content,
    ".gz": lambda content: gzip.compress(content, mtime=0),
    ".zst": zstd,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


def table(rows: list[Row], delimiter: str = ",", end: str = "\n") -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter, lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


TEXTS: dict[str, str] = {
    "a.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS),
    "blank.jsonl": "\n".join(f"\n{json.dumps(row, ensure_ascii=False)}\r\n" for row in ROWS),
    "a.ndjson": "\n".join(json.dumps(row) for row in ROWS),
    "a.json": json.dumps(ROWS, ensure_ascii=False, indent=1),
    "one_line.json": json.dumps(ROWS),
    "inside.json": json.dumps({"version": 1, "data": ROWS}),
    "by_column.json": json.dumps({name: [row[name] for row in ROWS] for name in ROWS[0]}),
    "pandas.json": json.dumps({name: {str(i): row[name] for i, row in enumerate(ROWS)} for name in ROWS[0]}),
    "pandas_index.json": json.dumps({str(i): row for i, row in enumerate(ROWS)}),
    "pandas_split.json": json.dumps(
        {"columns": list(ROWS[0]), "index": [0, 1], "data": [list(row.values()) for row in ROWS]}
    ),
    "a.csv": table(ROWS),
    "windows.csv": table(ROWS, end="\r\n"),
    "semicolon.csv": table(ROWS, ";"),
    "excel.csv": "sep=;\r\n" + table(ROWS, ";", "\r\n"),
    "a.tsv": table(ROWS, "\t"),
    "index.csv": table([{"": i, **row} for i, row in enumerate(ROWS)]),
}


def read(path: Path) -> list[tuple[str, Any]]:
    return [(example.text, example.label) for example in read_rows(path).examples()]


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("name", TEXTS)
def test_each_format_reads_alike_in_each_packing(tmp_path: Path, name: str, packing: str):
    path = tmp_path / (name + packing)
    path.write_bytes(PACKED[packing](TEXTS[name].encode()))
    assert read(path) == READ
    bare = path.rename(tmp_path / name)
    assert read(bare) == READ, "the content says how it is packed, not the name"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "semicolon.csv", "a.tsv"])
def test_each_encoding_is_found_out_and_said(tmp_path: Path, name: str, encoding: str):
    path = tmp_path / name
    path.write_bytes(TEXTS[name].encode(encoding))
    found = read_rows(path)
    assert [(example.text, example.label) for example in found.examples()] == READ
    said = " ".join(found.notes)
    assert ("Windows-1252" in said) == (encoding == "cp1252")
    assert ("UTF-16" in said or "UTF-32" in said) == encoding.startswith(("utf-16", "utf-32"))


def test_one_marked_letter_in_a_short_line_is_western_text(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_bytes("text,label\né,1\nè,0\n".encode("cp1252"))
    assert [text for text, _ in read(path)] == ["é", "è"]


@pytest.mark.parametrize("encoding", ["cp1251", "gb18030", "shift_jis", "euc_kr"])
def test_other_alphabets_are_not_read_as_western_ones(tmp_path: Path, encoding: str):
    text = {"cp1251": "очень хорошо", "euc_kr": "아주 좋다"}.get(encoding, "日本語文本")
    path = tmp_path / "a.csv"
    path.write_bytes(f"text,label\n{text},a\n{text},b\n".encode(encoding))
    with pytest.raises(BadFile, match="not UTF-8"):
        read_rows(path)


def test_two_encodings_in_one_file_are_refused(tmp_path: Path):
    for first, second in (("utf-8", "cp1252"), ("cp1252", "utf-8")):
        path = tmp_path / "a.csv"
        path.write_bytes(b"text,label\n" + "café,a\n".encode(first) + "café,a\n".encode(second))
        with pytest.raises(BadFile) as caught:
            read_rows(path)
        assert caught.value.fields["line"] == 3


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "zstd", "brotli"])
def test_parquet_in_each_of_its_codecs(tmp_path: Path, codec: str):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "a.parquet", compression=codec)
    assert read(tmp_path / "a.parquet") == READ


@pytest.mark.parametrize("make", [pyarrow.ipc.new_stream, pyarrow.ipc.new_file])
def test_arrow_as_stream_and_as_file(tmp_path: Path, make: Any):
    made = pyarrow.Table.from_pylist(ROWS)
    with pyarrow.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, make(sink, made.schema) as writer:
        writer.write_table(made)
    assert read(tmp_path / "a.arrow") == READ


# -- folders ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv", ".jsonl.gz", ".json.zst"])
def test_a_folder_of_shards_is_read_whole_and_in_order(tmp_path: Path, suffix: str):
    for i in (0, 1, 2, 10):
        path, rows = tmp_path / f"train-{i}-of-11{suffix}", [{"text": f"{i}", "label": f"{i} {j}"} for j in range(2)]
        if suffix == ".parquet":
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        else:
            text = table(rows) if suffix == ".csv" else "".join(json.dumps(row) + "\n" for row in rows)
            path.write_bytes(PACKED[path.suffix if path.suffix in PACKED else ""](text.encode()))
    (tmp_path / "README.md").write_text("words")
    found = read_rows(tmp_path)
    assert [e.label for e in found.examples()] == [f"{i} {j}" for i in (0, 1, 2, 10) for j in range(2)]
    assert any("4 files" in note for note in found.notes)


def test_of_several_splits_the_training_rows_are_read_and_it_is_said(tmp_path: Path):
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": name, "label": 1}) + "\n")
    found = read_rows(tmp_path)
    assert [e.text for e in found.examples()] == ["train"]
    assert any("train" in note and "test not" in note for note in found.notes)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["a.jsonl", "b.jsonl"], "may not belong together"),
        (["train.jsonl", "b.csv"], "several formats"),
        (["main/train.jsonl", "socratic/train.jsonl"], "several folders"),
        (["README.md"], "without data files"),
    ],
)
def test_a_folder_that_could_mean_several_things_is_refused(tmp_path: Path, names: list[str], says: str):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"text": "a"}\n')
    if "together" in says:
        assert read_rows(tmp_path).count == 2
        (tmp_path / "train.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(BadFile, match=says):
        read_rows(tmp_path)


def test_what_save_to_disk_wrote_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from datasets import Dataset, DatasetDict

    made = Dataset.from_list(ROWS)
    made.save_to_disk(str(tmp_path / "one"), num_shards=2)
    assert read(tmp_path / "one") == READ
    DatasetDict({"train": made, "test": made}).save_to_disk(str(tmp_path / "dict"))
    assert read(tmp_path / "dict") == READ
    made.select([1]).save_to_disk(str(tmp_path / "selected"))
    assert read(tmp_path / "selected") == READ[1:]


def test_data_sets_in_the_caches_are_found_by_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for gone in ("HF_HUB_CACHE", "HF_DATASETS_CACHE"):
        monkeypatch.delenv(gone, raising=False)
    hub = tmp_path / "hub" / "datasets--me--mine"
    (hub / "refs").mkdir(parents=True)
    (hub / "refs" / "main").write_text("abc")
    (hub / "snapshots" / "abc").mkdir(parents=True)
    (hub / "snapshots" / "abc" / "train.jsonl").write_text(TEXTS["a.jsonl"])
    found = read_rows("me/mine")
    assert found.count == 2
    assert any("cache" in note for note in found.notes)
    assert len(list(found.examples())) == 2
    with pytest.raises(BadFile, match="no data set of that name"):
        read_rows("me/other")


# -- what cannot be read -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.xlsx", b"PK\x03\x04rest", "zip archive"),
        ("a.pkl", b"\x80\x04\x95\0", "pickle"),
        ("a.json", json.dumps({"train": ROWS, "test": ROWS}).encode(), "'train' (2 rows), 'test' (2 rows)"),
        ("a.json", b'[{"text": "a"}] x', "more follows"),
        ("a.json", b'[{"text": "a"}', "not JSON"),
        ("a.jsonl", b'{"text": 1' + b"0" * 6000 + b"}\n", "not JSON"),
        ("a.zst", zstd(b'{"text": "a"}\n' * 9999)[:-40], "zstd"),
        ("a.xz", lzma.compress(b'{"text": "a"}\n' * 9999)[:-9], "xz"),
        ("a.csv", b"\xff\xfetext", "of no|no rows|cannot"),
    ],
)
def test_odd_files_are_refused_in_one_sentence(tmp_path: Path, name: str, content: bytes, says: str):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadFile) as caught:
        list(read_rows(path).examples())
    assert any(part in caught.value.message for part in says.split("|"))
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 4


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=200), st.sampled_from([".gz", ".zst", ".bz2", ".xz"]), st.sampled_from(["csv", "json", "jsonl"])
)
def test_no_packed_bytes_make_the_reader_crash(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, packing: str, suffix: str
):
    whole = PACKED[packing](content)
    for number, packed in enumerate((whole, whole[: len(whole) // 2], whole[:6] + content)):
        path = tmp_path_factory.mktemp("d") / f"{number}.{suffix}{packing}"
        path.write_bytes(packed)
        with contextlib.suppress(AdvisorError):
            assert read_rows(path).count > 0


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_a_bomb_is_refused_before_it_is_in_memory(tmp_path: Path, packing: str):
    """300 MB of one line, and of one JSON array of nothing, in less than 500 MB more resident."""
    path = tmp_path / f"a.json{packing}"
    if packing == ".gz":
        with gzip.open(path, "wb", compresslevel=1) as stream:
            stream.write(b'{"text": "')
            for _ in range(300):
                stream.write(b"x" * 2**20)
    else:
        with pyarrow.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write(b"[")
            for _ in range(300):
                stream.write(b"[],\n" * (2**18))
    code = (
        "import resource, sys\n"
        "from advisor.dataset import read_rows\n"
        "from advisor.errors import BadFile\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n"
        f"    read_rows({str(path)!r})\n"
        "except BadFile:\n"
        "    sys.exit(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before > 500 * 1024)\n"
        "sys.exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_large_array_is_read_row_by_row(tmp_path: Path):
    path = tmp_path / "a.json"
    rows = [{"text": f"{i} " + "é" * (70_000 if i == 5 else 300)} for i in range(3000)]
    path.write_text(json.dumps(rows, indent=2, ensure_ascii=False))
    assert [len(e.text) for e in read_rows(path).examples()] == [len(row["text"]) for row in rows]


@pytest.mark.parametrize("text", ["plain", "ünïcödé 漢字 😀"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_an_array_on_one_line_is_read_piece_by_piece(tmp_path, monkeypatch, text, encoding):
    """Of any length: no line of it needs to fit memory, and no character is cut."""
    from advisor.dataset import files
    from advisor.dataset.readers import file_rows

    for module in ("files", "readers"):
        monkeypatch.setattr(f"advisor.dataset.{module}.LONGEST_LINE", 4096)
    rows = [{"text": f"{text} {i}" * (i % 5 + 1)} for i in range(900)]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding=encoding)
    assert path.stat().st_size > 4 * 4096
    for piece in (64, 101, 1000):
        monkeypatch.setattr(files, "PIECE", piece)
        assert [row for _, row in file_rows(path, [])] == rows


def test_a_row_too_long_for_memory_is_refused_in_an_array_too(tmp_path, monkeypatch):
    from advisor.dataset.readers import file_rows

    monkeypatch.setattr("advisor.dataset.readers.LONGEST_LINE", 1 << 14)
    monkeypatch.setattr("advisor.dataset.files.PIECE", 1000)
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"text": "a"}, {"text": "b" * 400_000}]))
    with pytest.raises(BadFile, match="longer than"):
        list(file_rows(path, []))
