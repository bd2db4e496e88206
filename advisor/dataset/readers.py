"""Data files as plain rows, one at a time: JSON lines, JSON, CSV, TSV and Parquet, each also in gzip but Parquet."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from advisor.errors import BadFile

Row = dict[str, Any]
Numbered = tuple[int, Row]
"""A row and where it is: the line in a text file, the position (from 1) in JSON arrays and Parquet."""

FORMATS = "JSON lines (.jsonl), JSON (.json), CSV (.csv), TSV (.tsv), Parquet (.parquet); all but the last also .gz"
LONGEST_LINE = 64 * 2**20
LARGEST_JSON = 2**30
"""A JSON array must be read whole; beyond this it should be JSON lines."""


def rows_of(path: Path) -> Iterator[Numbered]:
    """Every row of a data file with its number, in bounded memory (but for JSON arrays, which have a limit).

    Raises:
        BadFile: missing, empty, binary, of an unknown format, or broken at a line (fields `path`, `line`, `reason`).
    """
    read = _reader(path)
    try:
        first = next(rows := read(path), None)
        if first is None:
            raise bad(path, "holds no rows")
        yield first
        yield from rows
    except UnicodeDecodeError as error:
        raise bad(path, f"is not UTF-8 text: byte {error.start} of a line cannot be read") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise bad(path, f"is not a whole gzip file: {error}") from error
    except OSError as error:
        raise bad(path, f"cannot be read: {error.strerror or error}") from error


def bad(path: Path, reason: str, line: int | None = None, *, hints: Sequence[str] = ()) -> BadFile:
    """The error of a data file, at a line where there is one; without other hints it says what can be read."""
    place = f"{path}, line {line}," if line is not None else str(path)
    said = list(hints) or [f"readable are {FORMATS}"]
    return BadFile(f"the data file {place} {reason}", hints=said, path=str(path), line=line, reason=reason)


def _reader(path: Path) -> Callable[[Path], Iterator[Numbered]]:
    """The reader of a file's format: by its suffix, checked against its first bytes, which know better."""
    if path.is_dir():
        raise bad(path, "is a folder; give one file of it")
    if not path.is_file():
        raise bad(path, "does not exist")
    with open(path, "rb") as raw:
        magic = raw.read(4)
    if not magic:
        raise bad(path, "is empty")
    if magic == b"PAR1":
        return _parquet
    zipped = magic[:2] == b"\x1f\x8b"
    suffix = Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    try:
        with _binary(path) as stream:
            head = stream.read(8192)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise bad(path, f"is not a whole gzip file: {error}") from error
    if not head.strip():
        raise bad(path, "is empty")
    if b"\0" in head or (suffix in (".parquet", ".arrow")):
        raise bad(path, "is binary" + (" after unpacking" if zipped else "") + ", not text or Parquet")
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if suffix in (".csv", ".tsv"):
        return _csv
    if start == b"[":
        return _json
    if start == b"{":
        return _json_lines if suffix in (".jsonl", ".ndjson") or _first_line_is_whole(head) else _json
    raise bad(path, "is of no format known here")


def _first_line_is_whole(head: bytes) -> bool:
    """Whether `{...}` ends on the first line, so that a `.json` file is JSON lines in truth."""
    line, newline, rest = head.decode("utf-8", "replace").lstrip("\ufeff \n\r\t").partition("\n")
    try:
        json.loads(line)
    except json.JSONDecodeError:
        return False
    return bool(newline and rest.strip())


def _binary(path: Path) -> IO[bytes]:
    with open(path, "rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if zipped else open(path, "rb")  # type: ignore[return-value]


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines with their numbers; one beyond LONGEST_LINE is refused before it is in memory."""
    with _binary(path) as stream:
        for number in itertools.count(1):
            line = stream.readline(LONGEST_LINE + 1)
            if not line:
                return
            if len(line) > LONGEST_LINE:
                raise bad(path, f"is longer than {LONGEST_LINE // 2**20} MiB", number)
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise bad(path, f"is not UTF-8 text at byte {error.start}", number) from error


def _json_lines(path: Path) -> Iterator[Numbered]:
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise bad(path, f"is not JSON: {_said(error)}", number) from error
        if not isinstance(row, dict):
            raise bad(path, f"is not an object but {type(row).__name__}", number)
        yield number, row


def _json(path: Path) -> Iterator[Numbered]:
    """An array of objects, or an object one of whose values is such an array (`{"data": [...]}`)."""
    with _binary(path) as stream:
        raw = stream.read(LARGEST_JSON + 1)
    if len(raw) > LARGEST_JSON:
        raise bad(path, f"is a JSON document of more than {LARGEST_JSON // 2**30} GiB; make it JSON lines")
    try:
        document = json.loads(raw.decode("utf-8-sig"))
    except (json.JSONDecodeError, RecursionError) as error:
        raise bad(path, f"is not JSON: {_short(error)}", getattr(error, "lineno", None)) from error
    if isinstance(document, dict):
        arrays = [value for value in document.values() if isinstance(value, list)]
        if len(arrays) != 1:
            raise bad(path, "is one JSON object, not an array of rows")
        document = arrays[0]
    for number, row in enumerate(document, start=1):
        if not isinstance(row, dict):
            raise bad(path, f"holds {type(row).__name__} where an object is expected", number)
        yield number, row


def _csv(path: Path) -> Iterator[Numbered]:
    """A table with a header line; the delimiter is the one the header uses most."""
    lines = _lines(path)
    header = next(lines, (0, ""))[1]
    delimiter = max(",\t;|", key=header.count)
    reader = csv.reader(itertools.chain([header], (line for _, line in lines)), delimiter=delimiter, strict=True)
    previous = csv.field_size_limit(LONGEST_LINE)
    try:
        names = [name.strip() for name in next(reader)]
        if len(set(names)) < len(names) or not all(names):
            raise bad(path, f"has columns without a name or of the same name: {', '.join(names)}", 1)
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


def _parquet(path: Path) -> Iterator[Numbered]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        batches: Iterable[Any] = pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=1024)
        for batch in batches:
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (pyarrow.ArrowException, OSError) as error:
        raise bad(path, f"is not a whole Parquet file: {_short(error)}") from error


def _said(error: Exception) -> str:
    """Of one line's JSON: the parser's own line numbers count within the line."""
    return f"{error.msg} at character {error.pos}" if isinstance(error, json.JSONDecodeError) else _short(error)


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
