"""A data file as bytes and as lines of text: unpacked, decoded, and never more of it in memory than one line."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final, cast

from advisor.errors import BadFile

FORMATS: Final = (
    "JSON lines (.jsonl), JSON (.json), CSV and TSV (.csv, .tsv), each also as .gz, .zst, .bz2 or .xz; "
    "Parquet (.parquet); Arrow (.arrow); a folder of such files, or one that datasets' save_to_disk() wrote"
)
LONGEST_LINE: Final = 64 * 2**20
PIECE: Final = 2**20
"""Bytes or characters of a longer line that are read at a time where lines have no meaning."""
HEAD_BYTES: Final = 8192

MAGICS: Final[dict[bytes, str]] = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}
"""First bytes of a packed file, which know better than its name."""
SUFFIXES: Final = (".gz", ".zst", ".zstd", ".bz2", ".xz")

REFUSED: Final[dict[bytes, str]] = {
    b"PK\x03\x04": "is a zip archive (or an Excel workbook)",
    b"\xd0\xcf\x11\xe0": "is an Excel workbook of the old kind",
    b"SQLite format 3": "is an SQLite database",
    b"\x89HDF": "is an HDF5 file",
    b"\x93NUMPY": "is a NumPy array",
    b"\x80\x04\x95": "is a pickle, which is never loaded",
    b"\x80\x05\x95": "is a pickle, which is never loaded",
    b"\x89PNG": "is a picture",
    b"\xff\xd8\xff": "is a picture",
    b"%PDF": "is a PDF",
}

BOMS: Final = (
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
FOREIGN_SHARE: Final = 0.3
"""Share of letters beyond ASCII from which a line that is not UTF-8 is no western European text: in French and German
prose fewer than one letter in ten has a mark, in Cyrillic, Greek or Chinese code pages nearly every byte is high."""

BROKEN: Final = (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError)


def bad(path: Path, reason: str, line: int | None = None, *, hints: Sequence[str] = ()) -> BadFile:
    """The error of a data file, at a line where there is one; without other hints it says what can be read."""
    place = f"{path}, line {line}," if line is not None else str(path)
    said = list(hints) or [f"readable are {FORMATS}"]
    return BadFile(f"the data file {place} {reason}", hints=said, path=str(path), line=line, reason=reason)


def packing(path: Path) -> str | None:
    """How a file is packed, by its first bytes: gzip, zstd, bzip2, xz; None for a plain one."""
    with open(path, "rb") as raw:
        start = raw.read(8)
    return next((name for magic, name in MAGICS.items() if start.startswith(magic)), None)


def open_binary(path: Path) -> IO[bytes]:
    """The unpacked bytes of a file, as a stream.

    Raises:
        OSError, EOFError, zlib.error, lzma.LZMAError: while reading, where it is not whole.
    """
    packed = packing(path)
    opener: Callable[..., Any] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}.get(packed or "", open)
    return _zstd(path) if packed == "zstd" else cast("IO[bytes]", opener(path, "rb"))


def _zstd(path: Path) -> IO[bytes]:
    """pyarrow's codec: Python has none of its own before 3.14."""
    import pyarrow

    return cast("IO[bytes]", io.BufferedReader(_Unpacked(pyarrow.CompressedInputStream(str(path), "zstd"))))


class _Unpacked(io.RawIOBase):
    """What io.BufferedReader needs of a pyarrow stream."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._stream.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        self._stream.close()
        super().close()


def head_of(path: Path) -> bytes:
    """The first bytes, unpacked.

    Raises:
        BadFile: missing, empty, not whole, or of a kind that holds no rows.
    """
    if not path.is_file():
        raise bad(path, "does not exist" if not path.exists() else "is not a regular file")
    try:
        with open_binary(path) as stream:
            head = stream.read(HEAD_BYTES)
    except (*BROKEN, OSError) as error:
        raise not_whole(path, error) from error
    for magic, what in REFUSED.items():
        if head.startswith(magic):
            raise bad(path, what)
    if not head.strip():
        raise bad(path, "is empty")
    return head


def not_whole(path: Path, error: Exception) -> BadFile:
    """The error of a packed file that breaks off, or of one that cannot be read."""
    packed = packing(path) if path.is_file() else None
    said = str(error).strip().splitlines()
    why = said[0][:200] if said else type(error).__name__
    if packed is not None:
        return bad(path, f"is not a whole {packed} file: {why}")
    return bad(path, f"cannot be read: {getattr(error, 'strerror', None) or why}")


def wide_encoding(head: bytes) -> str | None:
    """`utf-16` or `utf-32` text by its byte order mark, or by every other byte of its beginning being null."""
    for mark, encoding in BOMS:
        if head.startswith(mark):
            return encoding
    even, odd = head[0:512:2], head[1:512:2]
    if len(odd) < 4:
        return None
    if odd.count(0) > 0.7 * len(odd) and even.count(0) < 0.1 * len(even):
        return "utf-16-le"
    if even.count(0) > 0.7 * len(even) and odd.count(0) < 0.1 * len(odd):
        return "utf-16-be"
    return None


def decoded_head(head: bytes) -> str:
    """The beginning as text, good enough to tell the format by."""
    return head.decode(wide_encoding(head) or "utf-8", "replace").removeprefix("\ufeff")


def lines_of(path: Path, head: bytes, notes: list[str], *, pieces: bool = False) -> Iterator[tuple[int, str]]:
    """Lines with their numbers; one beyond LONGEST_LINE is refused before it is in memory.

    With `pieces` a long line comes in parts of about PIECE, each with its line's number, whatever its length.

    Text is UTF-8, UTF-16 or UTF-32; a line that is not UTF-8, in a file that has shown no UTF-8 beyond ASCII before,
    is taken for Windows' western code page where it reads as such. `notes` then says so.
    """
    wide = wide_encoding(head)
    old_mac = b"\r" in head and b"\n" not in head
    if wide is None and not old_mac:
        yield from _byte_lines(path, notes, pieces=pieces)
        return
    if wide is not None:
        notes.append(f"the file is {wide.upper().removesuffix('-LE').removesuffix('-BE')} text, read as such")
    with (
        open_binary(path) as raw,
        io.TextIOWrapper(raw, wide or "utf-8-sig", newline=None if old_mac else "\n") as text,
    ):
        number, first = 1, True
        while True:
            try:
                line = text.readline(PIECE if pieces else LONGEST_LINE + 1)
            except UnicodeError as error:
                raise bad(path, f"is not {wide or 'UTF-8'} text: {error}", number) from error
            if not line:
                return
            if len(line) > LONGEST_LINE:
                raise bad(path, f"is longer than {LONGEST_LINE // 2**20} MiB", number)
            yield number, line.removeprefix("\ufeff") if first else line
            number, first = number + line.endswith("\n"), False


def _whole_characters(raw: bytes, stream: IO[bytes]) -> bytes:
    """A part of a line with the rest of the UTF-8 character that it was cut in."""
    for back in range(1, min(4, len(raw)) + 1):
        byte = raw[-back]
        if byte >= 0xC0:
            wanted = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return raw + stream.read(wanted - back) if wanted > back else raw
        if byte < 0x80:
            break
    return raw


def _byte_lines(path: Path, notes: list[str], *, pieces: bool) -> Iterator[tuple[int, str]]:
    encoding, proven, number, first = "utf-8", False, 1, True
    with open_binary(path) as stream:
        while True:
            raw = stream.readline(PIECE if pieces else LONGEST_LINE + 1)
            if not raw:
                return
            if len(raw) > LONGEST_LINE:
                raise bad(path, f"is longer than {LONGEST_LINE // 2**20} MiB", number)
            if pieces and not raw.endswith(b"\n"):
                raw = _whole_characters(raw, stream)
            raw = raw.removeprefix(b"\xef\xbb\xbf") if first else raw
            try:
                line = raw.decode(encoding)
                proven = proven or not raw.isascii()
            except UnicodeDecodeError as error:
                line = None if proven and encoding == "utf-8" else _western(raw)
                if line is None:
                    raise bad(path, f"is not UTF-8 text at byte {error.start}", number, hints=SAVE_AS) from error
                encoding = "cp1252"
                notes.append(f"not UTF-8 but read as Windows-1252 text (Latin-1), from line {number} on")
            if encoding == "cp1252" and not raw.isascii() and (_western(raw) is None or _is_utf8(raw)):
                raise bad(path, "is not in one encoding with the lines before", number, hints=SAVE_AS)
            yield number, line
            number, first = number + raw.endswith(b"\n"), False


SAVE_AS: Final = ("save it as UTF-8 text: in Excel 'CSV UTF-8', in pandas to_csv(encoding='utf-8')",)


def _western(raw: bytes) -> str | None:
    """A line as Windows-1252, where that gives letters and common signs and not another alphabet's bytes."""
    try:
        text = raw.decode("cp1252")
    except UnicodeDecodeError:
        return None
    strange = [character for character in text if ord(character) > 127]
    letters = sum(character.isalpha() for character in text)
    marked = sum(character.isalpha() for character in strange)
    if any(not character.isprintable() and not character.isspace() for character in strange):
        return None
    return text if marked <= max(1, FOREIGN_SHARE * letters) else None


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
