"""Data files as plain rows, one at a time: JSON lines, JSON, CSV, TSV, Parquet and Arrow, by content more than name."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from advisor.dataset.files import (
    BROKEN,
    LONGEST_LINE,
    SUFFIXES,
    bad,
    decoded_head,
    head_of,
    lines_of,
    not_whole,
    packing,
    wide_encoding,
)
from advisor.domain.plain_values import is_list, is_object

if TYPE_CHECKING:
    import pyarrow

Row = dict[str, Any]
Numbered = tuple[int, Row]
"""A row and where it is: the line in a text file, the position (from 1) in JSON arrays, Parquet and Arrow."""
Reader = Callable[[Path, bytes, list[str]], Iterator[Numbered]]

LARGEST_DOCUMENT: Final = 256 * 2**20
"""Bytes of a JSON document that is not an array of rows and must be read whole; it should be JSON lines then."""
ROWS_A_BATCH: Final = 256


def file_rows(path: Path, notes: list[str]) -> Iterator[Numbered]:
    """Every row of one data file with its number, in bounded memory; `notes` tells what was unusual about it.

    Raises:
        BadFile: missing, empty, binary, of an unknown format, or broken at a line (fields `path`, `line`, `reason`).
    """
    head = head_of(path)
    read = _reader(path, head)
    try:
        yield from read(path, head, notes)
    except (*BROKEN, OSError) as error:
        raise not_whole(path, error) from error


def plain_suffix(path: Path) -> str:
    """A file's suffix below that of its packing: `.jsonl` of `a.jsonl.gz`."""
    return (Path(path.stem) if path.suffix.lower() in SUFFIXES else path).suffix.lower()


def _reader(path: Path, head: bytes) -> Reader:
    suffix = plain_suffix(path)
    if head.startswith(b"PAR1"):
        if packing(path) is not None:
            raise bad(path, "is Parquet inside a packed file: unpack it, Parquet packs itself")
        return _parquet
    if head.startswith(b"ARROW1") or suffix == ".arrow":
        return _arrow
    if suffix == ".parquet" or (b"\0" in head and wide_encoding(head) is None):
        raise bad(path, "is binary" + (" after unpacking" if packing(path) else "") + ", not text or Parquet")
    text = decoded_head(head).lstrip()
    if not text:
        raise bad(path, "is empty")
    if suffix in (".csv", ".tsv"):
        return _csv
    if text[0] == "[":
        return _json_array
    if text[0] == "{":
        return _json_lines if suffix in (".jsonl", ".ndjson") or _first_line_is_whole(text) else _json_document
    if suffix in (".json", ".jsonl", ".ndjson"):
        raise bad(path, "is not JSON", 1)
    hint = 'give it a header and call it .csv or .tsv if it is a table; prose as JSON lines: {"text": ...} a line'
    raise bad(path, "is of no format known here", hints=[hint])


def _first_line_is_whole(text: str) -> bool:
    """Whether `{...}` ends on the first line, so that a `.json` file is JSON lines in truth."""
    line, newline, rest = text.partition("\n")
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return bool(newline and rest.strip())


def _json_lines(path: Path, head: bytes, notes: list[str]) -> Iterator[Numbered]:
    for number, line in lines_of(path, head, notes):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise bad(path, f"is not JSON: {_said(error)}", number) from error
        if not is_object(row):
            raise bad(path, f"is not an object but {type(row).__name__}", number)
        yield number, row


def _json_array(path: Path, head: bytes, notes: list[str]) -> Iterator[Numbered]:
    """The objects of an array, one after the other: a large file never lies in memory whole, be it of one line."""
    decoder, blank = json.JSONDecoder(), re.compile(r"[\s,]*")
    lines, number, line = lines_of(path, head, notes, pieces=True), 0, 1
    buffer, place, wanted, ended = "", 0, 1 << 16, False
    opened = False
    while True:
        if len(buffer) - place < wanted and not ended:
            more = "".join(text for _, text in _some(lines, wanted))
            ended = not more
            buffer, place = buffer[place:] + more, 0
        start = blank.match(buffer, place).end()  # type: ignore[union-attr]
        if not opened:
            opened, line, place = True, line + buffer.count("\n", place, start), start + 1
            continue
        line, place = line + buffer.count("\n", place, start), start
        if buffer[place : place + 1] == "]":
            if buffer[place + 1 :].strip() or any(text.strip() for _, text in lines):
                raise bad(path, "is not JSON: more follows the array", line)
            return
        try:
            row, end = decoder.raw_decode(buffer, place)
        except (ValueError, RecursionError) as error:
            cut = isinstance(error, json.JSONDecodeError) and (
                error.pos >= len(buffer) - 64 or "Unterminated" in error.msg
            )
            if ended or not cut:
                raise bad(path, f"is not JSON: {_short(error)}", line + _lines_to(error, buffer, place)) from error
            wanted = 2 * max(wanted, len(buffer) - place)
            if wanted > 4 * LONGEST_LINE:
                raise bad(path, f"has a row longer than {LONGEST_LINE // 2**20} MiB", line) from error
            continue
        number, wanted = number + 1, 1 << 16
        if not is_object(row):
            raise bad(path, f"holds {type(row).__name__} where an object is expected", number)
        yield number, row
        line, place = line + buffer.count("\n", place, end), end


def _some(lines: Iterator[tuple[int, str]], wanted: int) -> Iterator[tuple[int, str]]:
    size = 0
    for number, text in lines:
        yield number, text
        size += len(text)
        if size >= wanted:
            return


def _lines_to(error: Exception, buffer: str, place: int) -> int:
    return buffer.count("\n", place, error.pos) if isinstance(error, json.JSONDecodeError) else 0


def _json_document(path: Path, head: bytes, notes: list[str]) -> Iterator[Numbered]:
    """One JSON object that holds the rows: under a name, column by column, or as pandas' to_json() writes them."""
    parts: list[str] = []
    size = 0
    for _, text in lines_of(path, head, notes):
        size += len(text)
        if size > LARGEST_DOCUMENT:
            raise bad(path, f"is one JSON object of more than {LARGEST_DOCUMENT // 2**20} MiB; make it JSON lines")
        parts.append(text)
    try:
        document = json.loads("".join(parts))
    except (ValueError, RecursionError) as error:
        raise bad(path, f"is not JSON: {_short(error)}", getattr(error, "lineno", None)) from error
    for number, row in enumerate(_rows_in(path, document), start=1):
        if not is_object(row):
            raise bad(path, f"holds {type(row).__name__} where an object is expected", number)
        yield number, row


def _rows_in(path: Path, document: dict[str, Any]) -> Iterable[Any]:
    arrays = {name: value for name, value in document.items() if is_list(value)}
    objects = {name: value for name, value in document.items() if is_object(value)}
    if {"columns", "data"} <= set(arrays) and all(is_list(row) for row in arrays["data"]):
        return (dict(zip(arrays["columns"], row, strict=False)) for row in arrays["data"])
    of_rows = [name for name, value in arrays.items() if value and is_object(value[0])]
    if len(arrays) == 1 and not (set(arrays) < set(document) and not of_rows and objects):
        return next(iter(arrays.values()))
    if len(of_rows) > 1:
        listed = ", ".join(f"{name!r} ({len(arrays[name])} rows)" for name in of_rows)
        raise bad(
            path,
            f"holds several lists of rows: {listed}",
            hints=[
                "give one list a file: as JSON lines, or as a JSON array",
                "the others can be --eval-data and --test-data",
            ],
        )
    if len(of_rows) == 1:
        return arrays[of_rows[0]]
    if len(arrays) == len(document) > 1 and len({len(value) for value in arrays.values()}) == 1:
        return (dict(zip(arrays, cells, strict=True)) for cells in zip(*arrays.values(), strict=True))
    if objects and len(objects) == len(document):
        keys = [list(value) for value in objects.values()]
        if all(mine == keys[0] for mine in keys) and all(key.isdigit() for key in keys[0]):
            return ({name: column[key] for name, column in objects.items()} for key in keys[0])
        if all(name.isdigit() for name in objects):
            return objects.values()
    raise bad(path, "is one JSON object, not an array of rows")


def _csv(path: Path, head: bytes, notes: list[str]) -> Iterator[Numbered]:
    """A table with a header line; the delimiter is the one the header uses most, outside quotes."""
    lines = lines_of(path, head, notes)
    header = next(lines, (0, ""))[1]
    delimiter = None
    if re.fullmatch(r"sep=.\r?\n", header):  # Excel's own way to say it
        delimiter, header = header[4], next(lines, (0, ""))[1]
    delimiter = delimiter or max(",\t;|", key=re.sub(r'"[^"]*"?', "", header).count)
    reader = csv.reader(itertools.chain([header], (line for _, line in lines)), delimiter=delimiter, strict=True)
    previous = csv.field_size_limit(LONGEST_LINE)
    try:
        names = [name.strip() or f"column {i}" for i, name in enumerate(next(reader, list[str]()), start=1)]
        if len(set(names)) < len(names) or not names:
            raise bad(path, f"has columns of the same name: {', '.join(names)}", 1)
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(names):
                raise bad(path, f"has {len(cells)} cells where the header has {len(names)}", reader.line_num)
            yield reader.line_num, dict(zip(names, cells, strict=True))
    except csv.Error as error:
        raise bad(path, f"is not CSV: {error}", reader.line_num) from error
    finally:
        csv.field_size_limit(previous)


def _parquet(path: Path, head: bytes, notes: list[str]) -> Iterator[Numbered]:
    import pyarrow
    import pyarrow.parquet

    try:
        yield from _batches(pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=ROWS_A_BATCH))
    except (pyarrow.ArrowException, OSError) as error:
        raise bad(path, f"is not a whole Parquet file: {_short(error)}") from error


def _arrow(path: Path, head: bytes, notes: list[str]) -> Iterator[Numbered]:
    """Arrow IPC, as a stream (what `datasets` writes) or as a file."""
    import pyarrow

    try:
        with pyarrow.memory_map(str(path)) as source:
            if head.startswith(b"ARROW1"):
                file = pyarrow.ipc.open_file(source)
                batches = (file.get_batch(i) for i in range(file.num_record_batches))
            else:
                batches = iter(pyarrow.ipc.open_stream(source))
            yield from _batches(batches)
    except (pyarrow.ArrowException, OSError) as error:
        raise bad(path, f"is not a whole Arrow file: {_short(error)}") from error


def _batches(batches: Iterable[pyarrow.RecordBatch]) -> Iterator[Numbered]:
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, ROWS_A_BATCH):
            for row in batch.slice(start, ROWS_A_BATCH).to_pylist():
                number += 1
                yield number, row


def table_of(row: Mapping[str, Any]) -> str:
    """A row's columns, for a message."""
    return ", ".join(map(repr, row)) or "no columns"


def _said(error: Exception) -> str:
    """Of one line's JSON: the parser's own line numbers count within the line."""
    return f"{error.msg} at character {error.pos}" if isinstance(error, json.JSONDecodeError) else _short(error)


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
