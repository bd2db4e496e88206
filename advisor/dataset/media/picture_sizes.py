"""How many pictures a row of a data file holds and how large they are, by their headers."""

from __future__ import annotations

import base64
import io
import itertools
import struct
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from advisor.dataset.folders import find_files
from advisor.dataset.media.media_kinds import media_of
from advisor.domain.plain_values import is_list, is_mapping
from advisor.domain.units import plural
from advisor.errors import AdvisorError

ROWS: Final = 200
"""First rows of a file whose pictures are looked at."""
HEADS: Final = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"II*\x00", b"MM\x00*")
"""First bytes of JPEG, PNG, GIF, WebP and TIFF: nothing else is handed to the reader of headers."""

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class PictureSizes:
    """Pictures of the first rows: of each row how many, and of each that could be read its width and height."""

    counts: tuple[int, ...]
    sizes: tuple[Size, ...]

    @property
    def most(self) -> int:
        """Pictures of the row that has the most."""
        return max(self.counts)

    @property
    def largest(self) -> Size | None:
        """The picture of the largest area; None where none could be read."""
        return max(self.sizes, key=lambda size: size[0] * size[1], default=None)

    def __str__(self) -> str:
        least, most = min(self.counts), self.most
        each = plural(most, "picture") if least == most else f"{least} to {most} pictures"
        rows = len(self.counts)
        said = f"the first {rows} rows hold {each} each" if rows > 1 else f"the row holds {each}"
        if self.largest is None:
            return f"{said}; none could be read from here"
        (usual, times), *_ = Counter(self.sizes).most_common(1)
        unread = sum(self.counts) - len(self.sizes)
        share = "all" if times == len(self.sizes) else f"the largest {_side(self.largest)}, most often"
        lost = f"; {unread} could not be read" if unread else ""
        return f"{said}, {share} {_side(usual)} pixels{lost}"


def picture_sizes(path: Path, columns: Collection[str]) -> PictureSizes | None:
    """Pictures in some columns of a data file: paths beside the file, bytes, base64; None where there are none.

    Nothing is fetched: a picture behind an address counts, and its size stays unknown.
    """
    counts: list[int] = []
    sizes: list[Size] = []
    try:
        for file, _, row in itertools.islice(find_files(path).rows([]), ROWS):
            found = [one for name in columns for one in _pictures(row.get(name))]
            counts.append(len(found))
            sizes.extend(size for one in found if (size := _size(one, file.parent)) is not None)
    except AdvisorError:
        # the file was read before; whatever is wrong further on is told by whoever reads it all
        pass
    return PictureSizes(tuple(counts), tuple(sizes)) if any(counts) else None


def _pictures(value: Any, depth: int = 0) -> Iterator[Any]:
    """Each picture within a cell: a path, an address, bytes."""
    if isinstance(value, (str, bytes)):
        if media_of(value) == "pictures":
            yield value
    elif is_mapping(value) and depth < 5:
        # `datasets` writes both; the bytes are there even where the path is not
        inside = [value["bytes"]] if value.get("bytes") else value.values()
        for part in inside:
            yield from _pictures(part, depth + 1)
    elif is_list(value) and depth < 5:
        for part in value:
            yield from _pictures(part, depth + 1)


def _size(picture: str | bytes, folder: Path) -> Size | None:
    import imagesize

    try:
        with _opened(picture, folder) as stream:
            if not stream.read(4).startswith(HEADS):
                return None
            stream.seek(0)
            width, height = imagesize.get(stream)
    except (OSError, ValueError, struct.error, IndexError, KeyError):
        return None
    return (width, height) if 0 < width <= 10**5 and 0 < height <= 10**5 else None


def _opened(picture: str | bytes, folder: Path) -> BinaryIO:
    """What a cell stands for, of which no more is read than the reader of headers asks for.

    Raises:
        OSError: nothing is there, or it is an address.
        ValueError: it is no base64.
    """
    if isinstance(picture, bytes):
        return io.BytesIO(picture)
    if picture.startswith(("data:image/", "/9j/", "iVBOR")):
        return io.BytesIO(base64.b64decode(picture.partition(",")[2] or picture))
    path = folder / picture.removeprefix("file://")
    if "://" in picture.removeprefix("file://") or not path.is_file():
        raise FileNotFoundError(path)
    return open(path, "rb")


def _side(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
