"""Pictures of a data file are counted, and measured by their headers, wherever the file keeps them."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from advisor.dataset import read_rows
from advisor.dataset.media import picture_sizes
from advisor.errors import BadRequest


def png(width: int, height: int) -> bytes:
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


def jpeg(width: int, height: int) -> bytes:
    return b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x0b\x08" + struct.pack(">HH", height, width) + b"\x01\x01\x11\x00"


def written(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


CHAT = [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "A cat."}]
KEPT = {
    "a path": lambda folder, content: "pictures/one.png",
    "paths": lambda folder, content: ["pictures/one.png"],
    "a file's address": lambda folder, content: f"file://{folder}/pictures/one.png",
    "a data address": lambda folder, content: "data:image/png;base64," + base64.b64encode(content).decode(),
    "base64": lambda folder, content: base64.b64encode(content).decode(),
    "a struct": lambda folder, content: {"path": "pictures/one.png", "bytes": None},
}


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("content", [png(1200, 800), jpeg(1200, 800)], ids=["png", "jpeg"])
def test_a_picture_is_measured_wherever_it_is_kept(kept: str, content: bytes, tmp_path: Path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "one.png").write_bytes(content)
    path = written(tmp_path, [{"messages": CHAT, "image": KEPT[kept](tmp_path, content)}] * 3)
    found = picture_sizes(path, ["image"])
    assert found is not None
    assert (found.counts, found.sizes) == ((1, 1, 1), ((1200, 800),) * 3)


def test_bytes_within_parquet_are_measured(tmp_path: Path):
    import pyarrow
    from pyarrow import parquet

    rows = [{"text": "a cat", "image": {"bytes": png(64, 32), "path": "gone.png"}}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    found = picture_sizes(tmp_path / "rows.parquet", ["image"])
    assert found is not None
    assert found.sizes == ((64, 32),)


def test_webp_is_no_sound_though_its_container_is_that_of_wav(tmp_path: Path):
    import pyarrow
    from pyarrow import parquet

    webp = b"RIFF\x1a\x00\x00\x00WEBPVP8L\x0d\x00\x00\x00\x2f\x3f\x40\x07\x00"
    parquet.write_table(pyarrow.Table.from_pylist([{"picture": webp}]), tmp_path / "rows.parquet")
    found = picture_sizes(tmp_path / "rows.parquet", ["picture"])
    assert found is not None
    assert found.sizes == ((64, 30),)


def test_the_refusal_names_the_most_and_the_largest_that_the_rows_hold(tmp_path: Path):
    for name, size in (("a.png", (640, 480)), ("b.png", (1024, 768))):
        (tmp_path / name).write_bytes(png(*size))
    rows = [{"messages": CHAT, "images": ["a.png"]}] * 3 + [{"messages": CHAT, "images": ["b.png", "a.png"]}]
    with pytest.raises(BadRequest) as refused:
        read_rows(written(tmp_path, rows))
    hints = refused.value.hints
    assert hints[0] == ("the first 4 rows hold 1 to 2 pictures each, the largest 1024x768, most often 640x480 pixels")
    assert any(hint.endswith("--images 2 --image-size 1024x768") for hint in hints)


@pytest.mark.parametrize(
    "value",
    [
        "https://example.org/a.png",
        "gone.png",
        "../../../../../../dev/zero.png",
        "data:image/png;base64,!!!",
        "broken.png",
        "drawing.png",
    ],
)
def test_what_cannot_be_measured_is_counted_and_said(value: str, tmp_path: Path):
    (tmp_path / "broken.png").write_bytes(png(10, 10)[:18])
    (tmp_path / "drawing.png").write_text('<svg width="10" height="10"/>')
    found = picture_sizes(written(tmp_path, [{"messages": CHAT, "images": [value]}]), ["images"])
    assert found is not None
    assert found.largest is None
    assert str(found) == "the row holds 1 picture; none could be read from here"


def test_marks_alone_are_no_pictures_that_could_be_measured(tmp_path: Path):
    path = written(tmp_path, [{"text": "<image> What is it? A cat."}] * 3)
    assert picture_sizes(path, ["text"]) is None
    with pytest.raises(BadRequest) as refused:
        read_rows(path)
    assert any(hint.endswith("--images 1 --image-size 1024x768") for hint in refused.value.hints)
