"""Checkpoints a killed training continues from: a folder counts only once its COMMITTED file lies in it.

Power may go between writing a checkpoint and committing it; then the one before is used, so the old one is
removed only after the new one is committed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from advisor.domain.plain_values import is_object
from advisor.store import durable, write_bytes

COMMITTED = "COMMITTED.json"
EARLIER_KEY = "coach"
"""What the monitor's state was kept under before 0.2; a training that was interrupted then goes on."""


def commit(folder: Path, state: Mapping[str, Any]) -> None:
    """Push every file of a checkpoint to the disk, then write the mark with the monitor's state and the sizes."""
    sizes: dict[str, int] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != COMMITTED):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sizes[path.relative_to(folder).as_posix()] = path.stat().st_size
    text = json.dumps({"sizes": sizes, "monitor": dict(state)})
    durable(folder / COMMITTED, lambda temporary: write_bytes(temporary, text.encode()))
    for other in folder.parent.iterdir():
        if other.is_dir() and other != folder:
            shutil.rmtree(other, ignore_errors=True)


def newest(checkpoints: Path) -> tuple[Path, dict[str, Any]] | None:
    """The latest committed checkpoint whose files are all whole, with the monitor's state."""
    found: list[tuple[int, Path, dict[str, Any]]] = []
    for folder in checkpoints.glob("checkpoint-*"):
        mark = _read(folder / COMMITTED)
        number = folder.name.rpartition("-")[2]
        if mark is None or not number.isdigit():
            continue
        sizes = mark["sizes"].items()
        if all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in sizes):
            found.append((int(number), folder, mark["monitor"]))
    if not found:
        return None
    _, folder, state = max(found, key=lambda entry: entry[0])
    return folder, state


def _read(path: Path) -> dict[str, Any] | None:
    try:
        mark: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not is_object(mark):
        return None
    if EARLIER_KEY in mark:
        mark["monitor"] = mark.pop(EARLIER_KEY)
    return mark if {"sizes", "monitor"} <= mark.keys() else None
