"""The rows a search is measured on: the same for every searcher and seed, drawn from a set's files."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

RENAMED = {"input": "prompt", "target": "completion"}


def rows_given(text: str) -> tuple[str, tuple[Path, Path, Path]]:
    """A set's name and its files, from NAME=TRAIN,EVAL,TEST."""
    name, _, files = text.partition("=")
    train, evaluation, test = (Path(file) for file in files.split(","))
    return name, (train, evaluation, test)


def drawn_rows(
    files: tuple[Path, Path, Path], into: Path, name: str, samples: int, scored: tuple[int, int], part: int = 0
) -> list[Path]:
    """Training, evaluation and test files of a size; `part` counts on to rows that the parts before it left.

    Args:
        scored: most rows to evaluate and to test on.
    """
    paths = [into / f"{name}-{samples}.{split}.jsonl" for split in ("train", "evaluation", "test")]
    if all(path.is_file() for path in paths):
        return paths
    train, *others = (read_rows(path) for path in files)
    parts: list[list[dict[str, Any]]] = []
    for at in range(part + 1):
        parts = [train[at * samples : (at + 1) * samples]]
        labels = {row.get("label") for row in parts[0]}
        for i, most in enumerate(scored):
            parts.append([row for row in others[i] if row.get("label") in labels][:most])
            others[i] = [row for row in others[i] if row not in parts[-1]]
    into.mkdir(parents=True, exist_ok=True)
    for path, rows in zip(paths, parts, strict=True):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return paths


def read_rows(path: Path) -> list[dict[str, Any]]:
    """A file's rows in an order of their own, under the names that `tune` reads."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    random.Random(0).shuffle(rows)
    kept = ("text", "label", "prompt", "completion", *RENAMED)
    return [{RENAMED.get(str(k), str(k)): v for k, v in row.items() if k in kept} for row in rows]
