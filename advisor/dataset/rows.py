"""A training data file: what its rows are, how many, what is wrong with them; and its examples in one form.

What a column holds is either read, or named with the share of the text it is (`Rows.notes`), or a reason to refuse.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import os
import random
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from advisor.dataset.columns import Columns, characters, named_columns
from advisor.dataset.examples import Example, Label, Layout, Message, turn_keys_left_out
from advisor.dataset.files import bad
from advisor.dataset.folders import DataFiles, find_files
from advisor.dataset.layouts import find_layout, for_task, not_used
from advisor.dataset.recognisers import LABELS
from advisor.dataset.row_formats import RowKind
from advisor.domain.request.vocabulary import TASKS, Task
from advisor.errors import BadRequest

SAMPLE = 2000
LONGEST = 64
PEEK = 500
"""Rows that are looked at before the columns are told apart; the rest may prove it wrong, and is then read again."""
KEPT_CHARACTERS = 400_000
"""A longer example is cut to this in the sample; its true size stays in `Sized.characters`."""
HASHED = 2_000_000
"""Rows that are remembered to find duplicates: 8 bytes each, and the set around them."""


@dataclass(frozen=True, slots=True)
class Sized:
    """An example of the sample, perhaps cut, with the characters it truly has."""

    example: Example
    characters: int


@dataclass(frozen=True, slots=True)
class Rows:
    """What a data file holds. `count` is of all rows; `sample` a random part, `longest` the longest by characters."""

    path: str
    layout: Layout
    kind: RowKind
    task: Task
    count: int
    empty: int
    duplicates: int
    labels: tuple[Label, ...] = ()
    """The classes, sorted, for `text-label`."""
    label_counts: Mapping[Label, int] = field(default_factory=dict[Label, int])
    sample: tuple[Sized, ...] = ()
    longest: tuple[Sized, ...] = ()
    notes: tuple[str, ...] = ()
    """How the file was read: which files and encoding, what was left out of it."""
    warnings: tuple[str, ...] = ()

    @property
    def num_labels(self) -> int | None:
        return len(self.labels) or None

    @property
    def usable(self) -> int:
        """Sequences there is something to learn from: a row is one, a pair of answers two."""
        return self.count - self.empty

    @property
    def samples(self) -> int:
        """Rows there is something to learn from."""
        return self.usable // max(1, len(self.layout.answers))

    def examples(self) -> Iterator[Example]:
        """Every example in the file's order, read again from the file."""
        for placed in find_files(self.path).rows([]):
            yield from (example for example in self.layout.examples(placed) if example is not None)


def read_rows(
    path: str | os.PathLike[str],
    task: str | None = None,
    *,
    columns: Mapping[str, str] | str | None = None,
    usual_task: Task | None = None,
    sample: int = SAMPLE,
    also: Collection[str] = (),
) -> Rows:
    """Read a data file once, in bounded memory.

    Args:
        path: a file, a folder of shards or of `datasets`, or a data set in the Hub's cache, by content.
        task: one of TASKS; None: `sequence-classification` where rows have labels, `seq2seq` where they have a target
            and that is the model's `usual_task`, else `causal-lm`.
        columns: which column is read as what, `{"text": "utterance", "label": "intent"}`; None: by customary names.
        sample: rows to keep, drawn evenly with a fixed seed.
        also: formats of rows that the caller can use beside those of supervised training: `preference`, `kto`.
    Raises:
        BadRequest: an unknown task, one these rows cannot serve, rows of a format that is not trained on yet.
        BadFile: missing, empty, binary, broken, rows of mixed or unknown kind, a row without a label; the field
            `line` says where.
    """
    if task is not None and task not in TASKS:
        raise BadRequest(f"unknown task {task!r}", hints=[f"tasks are: {', '.join(TASKS)}"], task=task)
    named, files = named_columns(columns), find_files(path)
    first = list(itertools.islice(files.rows([]), PEEK))

    def layout_of(seen: Columns) -> Layout:
        return for_task(find_layout(files.path, seen, named, first[0], also), task)

    layout = layout_of(Columns([row for _, _, row in first]))
    tally = _read(files, layout, sample)
    if tally.columns.rows > len(first) and (whole := layout_of(tally.columns)) != layout:
        layout, tally = whole, _read(files, whole, sample)  # the first rows did not show what the file holds
    if tally.empty == tally.count:
        raise bad(files.path, _nothing_in(tally))
    kind = layout.kind
    chosen = _task(str(path), kind, task, usual_task)
    labels = tuple(sorted(tally.labels, key=lambda label: (isinstance(label, str), label)))
    return Rows(
        path=str(path),
        layout=layout,
        kind=kind,
        task=chosen,
        count=tally.count,
        empty=tally.empty,
        duplicates=tally.duplicates,
        labels=labels,
        label_counts=dict(tally.labels),
        sample=tuple(tally.sample),
        longest=tally.longest(),
        notes=(
            *files.notes,
            *tally.notes,
            *not_used(tally.columns, layout, tally.turn_keys),
            *_left_out(tally, layout),
        ),
        warnings=_warnings(tally),
    )


def _read(files: DataFiles, layout: Layout, sample: int) -> _Tally:
    tally = _Tally(sample)
    for placed in files.rows(tally.notes):
        row = placed[2]
        tally.columns.add(row)
        if layout.kind == "messages":
            tally.turn_keys |= turn_keys_left_out(row, layout)
        examples = list(layout.examples(placed))
        tally.unlabelled += examples.count(None)
        tally.add_row([example for example in examples if example is not None])
    return tally


class _Tally:
    """Counts over all rows, an even sample (reservoir) and the longest rows, in memory that does not grow."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.rows = self.count = self.empty = self.duplicates = self.unlabelled = 0
        self.columns = Columns()
        self.notes: list[str] = []
        self.turn_keys: set[str] = set()
        self.labels: Counter[Label] = Counter()
        self.sample: list[Sized] = []
        self._longest: list[tuple[int, int, Sized]] = []
        self._seen: set[bytes] = set()
        self._random = random.Random(0)

    def add_row(self, examples: list[Example]) -> None:
        """A row of the file: one example, or the sequences of a pair, which repeats another one only as a whole."""
        self.rows += bool(examples)
        for example in examples:
            self._add(example)
        if all(example.empty for example in examples):
            return
        digest = hashlib.blake2b(repr(examples).encode("utf-8", "surrogatepass"), digest_size=8).digest()
        if digest in self._seen:
            self.duplicates += 1
        elif len(self._seen) < HASHED:
            self._seen.add(digest)

    def _add(self, example: Example) -> None:
        self.count += 1
        if example.label is not None:
            self.labels[example.label] += 1
        if example.empty:
            self.empty += 1
            return
        size = example.characters
        sized = Sized(_cut(example), size)
        if len(self.sample) < self.size:
            self.sample.append(sized)
        elif (place := self._random.randrange(self.count - self.empty)) < self.size:
            self.sample[place] = sized
        entry = (size, self.count, sized)
        if len(self._longest) < LONGEST:
            heapq.heappush(self._longest, entry)
        elif entry > self._longest[0]:
            heapq.heapreplace(self._longest, entry)

    def longest(self) -> tuple[Sized, ...]:
        return tuple(sized for _, _, sized in sorted(self._longest, reverse=True))


def _cut(example: Example) -> Example:
    """An example of at most KEPT_CHARACTERS, each part losing its end."""
    if example.characters <= KEPT_CHARACTERS:
        return example
    if example.messages:
        left, turns = KEPT_CHARACTERS, list[Message]()
        for turn in example.messages:
            if left <= 0:
                break
            turns.append(turn | {"content": turn["content"][:left]})
            left -= characters(turn, chat=True)
        return Example("", messages=tuple(turns), tools=example.tools)
    target = example.target[: KEPT_CHARACTERS // 2] if example.target is not None else None
    return Example(example.text[: KEPT_CHARACTERS - len(target or "")], target, example.label)


def _left_out(tally: _Tally, layout: Layout) -> tuple[str, ...]:
    if not tally.unlabelled:
        return ()
    total = tally.count + tally.unlabelled
    return (f"{tally.unlabelled} of {total} rows have the label {layout.unlabelled} (unlabelled) and are left out",)


def _nothing_in(tally: _Tally) -> str:
    if tally.unlabelled and not tally.count:
        return f"holds {tally.unlabelled} rows, and all have the label -1, which means unlabelled (a hidden test set)"
    return f"holds {tally.count} rows, and all are empty"


def _warnings(tally: _Tally) -> tuple[str, ...]:
    found: list[str] = []
    if tally.empty:
        what = "rows" if tally.rows == tally.count else "sequences"
        found.append(f"{tally.empty} of {tally.count} {what} are empty")
    if tally.duplicates:
        bound = "at least " if tally.rows > HASHED else ""
        found.append(f"{bound}{tally.duplicates} of {tally.rows} rows repeat another row")
    if len(tally.labels) == 1:
        found.append(f"all rows have one label, {next(iter(tally.labels))!r}: there is nothing to tell apart")
    if len(tally.labels) > 20 and len(tally.labels) > tally.count / 2:
        found.append(f"{len(tally.labels)} different labels in {tally.count} rows: these look like texts, not classes")
    rare = sum(1 for seen in tally.labels.values() if seen < 5)
    if rare and len(tally.labels) > 1:
        found.append(f"{rare} of {len(tally.labels)} labels have fewer than 5 rows")
    return tuple(found)


def _task(path: str, kind: RowKind, task: str | None, usual: Task | None) -> Task:
    inferred = {"text-label": "sequence-classification", "prompt-completion": usual if usual == "seq2seq" else None}
    chosen: Any = task or inferred.get(kind) or "causal-lm"
    if chosen == "sequence-classification" and kind != "text-label":
        raise BadRequest(
            f"sequence-classification needs text and label, and the rows of {path} are {kind}",
            hints=[
                f"label columns are called one of: {', '.join(LABELS)}",
                "or name them: --columns text=COLUMN,label=COLUMN",
            ],
            task=task,
            kind=kind,
        )
    if chosen == "seq2seq" and kind != "prompt-completion":
        raise BadRequest(
            f"seq2seq needs an input and a target, and the rows of {path} are {kind}",
            hints=[
                "columns are called, for example, input and target, or prompt and completion",
                "or name them: --columns prompt=COLUMN,completion=COLUMN",
            ],
            task=task,
            kind=kind,
        )
    return chosen
