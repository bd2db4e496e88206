"""The rows of a study: one form, three splits that share no row, and every doubt about them said.

Splits are a function of the files and the seed, so a machine that joins later cuts the same ones; their
SHA-256 proves it.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from pydantic import Field

from advisor.dataset.columns import named_columns
from advisor.dataset.examples import Example
from advisor.dataset.row_formats import RowKind
from advisor.dataset.rows import read_rows
from advisor.domain.request.vocabulary import Task
from advisor.domain.stored import Value
from advisor.domain.units import plural
from advisor.errors import BadRequest
from advisor.store import durable, unwritable, write_bytes

SPLITS = ("train", "evaluation", "test")
OTHER_FOLDER: Final = "give another: --out FOLDER"


class Splits(Value):
    """The rows as the trials read them: `data/<split>.jsonl` in the study's folder."""

    kind: RowKind
    rows: dict[str, int]
    sha256: dict[str, str]
    labels: tuple[str, ...] = ()
    sources: dict[str, str] = Field(default_factory=dict, description="split -> the file it came from")
    columns: dict[str, str] = Field(default_factory=dict, description="role -> the columns that were named for it")
    notes: tuple[str, ...] = ()


Row = dict[str, Any]

FEWEST_ROWS: Final = 10
"""Rows to train on, to choose by and to test with; below this no split leaves a number that means anything."""
SHARE: Final = 0.1
"""Of the rows, for evaluation and for the test where no files were given."""


def load_splits(
    train: str,
    evaluation: str | None,
    test: str | None,
    task: Task | None,
    *,
    seed: int,
    columns: Mapping[str, str] | str | None = None,
    usual_task: Task | None = None,
) -> tuple[dict[str, list[Row]], Splits, Task]:
    """The files' rows by split, what is said of them, and the task they serve.

    `columns` and `usual_task` as for `advisor.dataset.read_rows`.

    Raises:
        BadFile, BadRequest: as `read`, and as `make_splits`.
    """
    sources = {"train": train, "evaluation": evaluation, "test": test}
    parts: dict[str, list[Row]] = {}
    kinds: dict[str, RowKind] = {}
    notes: list[str] = []
    for name, path in sources.items():
        if path is None:
            continue
        kinds[name], task, parts[name], said = read(path, task, columns=columns, usual_task=usual_task)
        notes.extend(f"{name}: {note}" for note in said)
    if len(set(kinds.values())) > 1:
        raise BadRequest(f"the splits hold different kinds of rows: {kinds}", hints=["use the same columns in all"])
    assert task is not None
    rows, splits = make_splits(parts, kinds["train"], seed=seed, notes=notes)
    named = {name: str(Path(path).resolve()) for name, path in sources.items() if path is not None}
    how = {role: "+".join(names) for role, names in named_columns(columns).items()}
    return rows, splits.model_copy(update={"sources": named, "columns": how}), task


def make_splits(
    parts: Mapping[str, list[Row]], kind: RowKind, *, seed: int, notes: Sequence[str] = ()
) -> tuple[dict[str, list[Row]], Splits]:
    """Rows by split, and what is said of them.

    Where no evaluation or test rows are given they are cut from `train`, a tenth each (stratified for a
    classification), equal rows always on the same side.

    Raises:
        BadRequest: too few rows, one class only, a label that no training row has.
    """
    notes, rows = list(notes), dict(parts)
    total = sum(len(part) for part in rows.values())
    if total < FEWEST_ROWS:
        raise BadRequest(
            f"{total} usable rows: too few to train on, to choose by and to test with",
            hints=[f"give {FEWEST_ROWS} rows or more"],
            rows=total,
        )
    if kind == "text-label":
        _classes(rows["train"])
    for name in ("evaluation", "test"):
        if name not in rows:
            rows["train"], rows[name] = _cut(rows["train"], kind, SHARE, random.Random(f"{seed}/{name}"))
            notes.append(f"{name}: {len(rows[name])} rows cut from the training file, seed {seed}")
    labels = _labels(rows, notes) if kind == "text-label" else ()
    _leaks(rows, notes)
    splits = Splits(
        kind=kind,
        rows={name: len(rows[name]) for name in SPLITS},
        sha256={name: hashlib.sha256(dump(rows[name])).hexdigest() for name in SPLITS},
        labels=labels,
        notes=tuple(notes),
    )
    return {name: rows[name] for name in SPLITS}, splits


def dump(rows: Sequence[Row]) -> bytes:
    """JSON lines, keys sorted: the bytes that are hashed and stored."""
    return "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows).encode()


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be made, before anything is measured for it; leaves nothing behind.

    Raises:
        StoreUnavailable: as `write_splits` would.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error, hint=OTHER_FOLDER) from error
    finally:
        for path in missing:
            with suppress(OSError):
                path.rmdir()


def write_splits(rows: Mapping[str, Sequence[Row]], folder: Path) -> None:
    """`<folder>/<split>.jsonl`, each renamed into place when whole.

    Raises:
        StoreUnavailable: the disk is full, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, part in rows.items():
            content = dump(list(part))
            durable(folder / f"{name}.jsonl", lambda temporary, content=content: write_bytes(temporary, content))
    except OSError as error:
        raise unwritable(folder, error, hint=OTHER_FOLDER) from error


def read_split(folder: Path, name: str, splits: Splits) -> list[Row]:
    """The rows of one split.

    Raises:
        BadRequest: the file is not the one the study began with.
    """
    path = folder / f"{name}.jsonl"
    raw = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(raw).hexdigest() != splits.sha256[name]:
        raise BadRequest(
            f"{path} is {'changed' if raw else 'missing'}: the study began with other rows",
            hints=["restore it, or begin a new study: --name"],
            path=str(path),
        )
    return [json.loads(line) for line in raw.decode().splitlines()]


def read(
    path: str,
    task: Task | None,
    *,
    columns: Mapping[str, str] | str | None = None,
    usual_task: Task | None = None,
) -> tuple[RowKind, Task, list[Row], list[str]]:
    """A data file as normalised rows: (kind, task, rows, what is to be said of them).

    Raises:
        BadFile, BadRequest: as `advisor.dataset.read_rows`.
    """
    found = read_rows(path, task, columns=columns, usual_task=usual_task)
    rows = [row_of(example) for example in found.examples() if not example.empty]
    notes = list(found.notes)
    if found.empty:
        notes.append(f"{plural(found.empty, 'row')} dropped: empty text, or nothing to learn in them")
    return found.kind, found.task, rows, notes


def row_of(example: Example) -> Row:
    """An example as the trials read it."""
    if example.messages:
        tools = {"tools": list(example.tools)} if example.tools else {}
        return {"messages": [dict(message) for message in example.messages], **tools}
    if example.target is not None:
        return {"prompt": example.text, "completion": example.target}
    return {"text": example.text} if example.label is None else {"text": example.text, "label": str(example.label)}


def _content(row: Row) -> str:
    """What makes two rows the same for a leak: their text without the label, blanks and case apart."""
    text = json.dumps({k: v for k, v in row.items() if k != "label"}, ensure_ascii=False, sort_keys=True)
    return " ".join(text.lower().split())


def _cut(rows: list[Row], kind: RowKind, share: float, draw: random.Random) -> tuple[list[Row], list[Row]]:
    """(rest, cut): groups of equal rows move together; each class gives its share, at least one where it has three."""
    groups: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        groups[_content(row)].append(i)
    strata: dict[str, list[list[int]]] = defaultdict(list)
    for members in groups.values():
        strata[rows[members[0]].get("label", "") if kind == "text-label" else ""].append(members)
    chosen: set[int] = set()
    for label in sorted(strata):
        parts = strata[label]
        draw.shuffle(parts)
        wanted = max(round(share * sum(len(p) for p in parts)), 1 if len(parts) >= 3 else 0)
        taken = 0
        for part in parts[:-1]:
            if taken >= wanted:
                break
            chosen.update(part)
            taken += len(part)
    if not chosen:
        raise BadRequest(
            "no rows can be set aside to choose by: too few different rows in each class",
            hints=["give --eval-data and --test-data files, or more rows"],
        )
    return [r for i, r in enumerate(rows) if i not in chosen], [r for i, r in enumerate(rows) if i in chosen]


def _classes(rows: Sequence[Row]) -> Counter[str]:
    counts = Counter(row["label"] for row in rows)
    if len(counts) < 2:
        raise BadRequest(
            f"the training rows have one class only: {next(iter(counts))!r}",
            hints=["a classifier needs rows of two classes or more"],
            labels=sorted(counts),
        )
    return counts


def _labels(rows: Mapping[str, Sequence[Row]], notes: list[str]) -> tuple[str, ...]:
    counts = _classes(rows["train"])
    for name in ("evaluation", "test"):
        unknown = sorted({row["label"] for row in rows[name]} - set(counts))
        if unknown:
            raise BadRequest(
                f"the {name} rows have labels that no training row has: {', '.join(unknown[:5])}",
                hints=["add training rows of these labels, or drop the rows"],
                labels=unknown,
            )
        absent = sorted(set(counts) - {row["label"] for row in rows[name]})
        if absent:
            some = f"{', '.join(absent[:5])}{' ...' if len(absent) > 5 else ''}"
            notes.append(
                f"{name}: no row of {len(absent)} of {len(counts)} labels ({some}); its scores say nothing of them"
            )
    commonest = counts.most_common(1)[0][0]
    shares = [f"{fmean(row['label'] == commonest for row in rows[name]):.4f} on {name}" for name in SPLITS[1:]]
    notes.append(f"always the commonest label, {commonest!r}, is an accuracy of {' and '.join(shares)} rows")
    return tuple(sorted(counts, key=lambda label: (0, int(label), "") if label.isdigit() else (1, 0, label)))


def _leaks(rows: Mapping[str, Sequence[Row]], notes: list[str]) -> None:
    seen = {name: Counter(_content(row) for row in part) for name, part in rows.items()}
    for left, right in (("train", "evaluation"), ("train", "test"), ("evaluation", "test")):
        shared = sum(seen[right][key] for key in seen[right].keys() & seen[left].keys())
        if shared:
            notes.append(
                f"leak: {shared} of {len(rows[right])} {right} rows are also {left} rows; their scores flatter"
            )
    repeated = sum(seen["train"].values()) - len(seen["train"])
    if repeated:
        notes.append(f"train: {plural(repeated, 'row')} the same as another one")
