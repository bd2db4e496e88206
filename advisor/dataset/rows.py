"""A training data file: what its rows are, how many, what is wrong with them; and its examples in one form.

Rows may be `text`, `prompt`+`completion`, `messages` or `text`+`label`, under these or other customary names
(Alpaca's instruction/input/output, ShareGPT's conversations, input/target ...); columns beside them are ignored.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import heapq
import os
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from advisor.dataset.readers import bad, rows_of
from advisor.domain.request.vocabulary import TASKS, Task
from advisor.errors import BadFile, BadRequest

RowKind = Literal["text", "prompt-completion", "messages", "text-label"]
ROW_KINDS: tuple[RowKind, ...] = get_args(RowKind)
Label = str | int

SAMPLE = 2000
LONGEST = 64
KEPT_CHARACTERS = 400_000
"""A longer example is cut to this in the sample; its true size stays in `Sized.characters`."""
HASHED = 2_000_000
"""Rows that are remembered to find duplicates: 8 bytes each, and the set around them."""

TEXTS = ("text", "sentence", "content", "review", "document", "body", "description")
PAIRS = (("sentence1", "sentence2"), ("premise", "hypothesis"), ("text", "text_pair"), ("question", "sentence"))
LABELS = ("label", "labels", "class", "category", "sentiment")
PROMPTS = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("question", "answer"),
    ("input", "output"),
    ("input", "target"),
    ("source", "target"),
    ("article", "highlights"),
    ("document", "summary"),
    ("text", "summary"),
    ("dialogue", "summary"),
)
CHATS = ("messages", "conversations")
ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant"}


@dataclass(frozen=True, slots=True)
class Example:
    """One row in the common form. `text` is the input (the whole, without a target); chats keep their turns."""

    text: str
    target: str | None = None
    label: Label | None = None
    messages: tuple[tuple[str, str], ...] = ()
    """(role, content) of each turn."""

    @property
    def empty(self) -> bool:
        """Nothing to learn from: no input, or an empty target where there should be one."""
        if self.messages:
            return not any(content.strip() for _, content in self.messages)
        return not self.text.strip() or (self.target is not None and not self.target.strip())

    @property
    def characters(self) -> int:
        """Characters of all its parts."""
        return sum(len(c) for _, c in self.messages) if self.messages else len(self.text) + len(self.target or "")


@dataclass(frozen=True, slots=True)
class Sized:
    """An example of the sample, perhaps cut, with the characters it truly has."""

    example: Example
    characters: int


@dataclass(frozen=True, slots=True)
class Rows:
    """What a data file holds. `count` is of all rows; `sample` a random part, `longest` the longest by characters."""

    path: str
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
    warnings: tuple[str, ...] = ()

    @property
    def num_labels(self) -> int | None:
        return len(self.labels) or None

    def examples(self) -> Iterator[Example]:
        """Every example in the file's order, read again from the file."""
        for number, row in rows_of(Path(self.path)):
            yield _example(Path(self.path), number, row, self.kind)


def read_rows(path: str | os.PathLike[str], task: str | None = None, *, sample: int = SAMPLE) -> Rows:
    """Read a data file once, in bounded memory.

    Args:
        path: JSON lines, JSON, CSV, TSV or Parquet, by content; in gzip too.
        task: one of TASKS; None: `sequence-classification` where rows have labels, else `causal-lm`.
        sample: rows to keep, drawn evenly with a fixed seed.
    Raises:
        BadRequest: an unknown task, or one these rows cannot serve.
        BadFile: missing, empty, binary, broken, rows of mixed or unknown kind, a row without a label; the field
            `line` says where.
    """
    if task is not None and task not in TASKS:
        raise BadRequest(f"unknown task {task!r}", hints=[f"tasks are: {', '.join(TASKS)}"], task=task)
    path = Path(path).expanduser()
    tally = _Tally(sample)
    kind, first_line = None, 0
    for number, row in rows_of(path):
        found = _kind(path, number, row) if kind is None or not _still(row, kind) else kind
        if kind is None:
            kind, first_line = found, number
        elif found != kind:
            raise bad(path, _mixed(kind, found, first_line), number)
        tally.add(_example(path, number, row, kind))
    if kind is None:
        raise bad(path, "holds no rows")
    if tally.empty == tally.count:
        raise bad(path, f"holds {tally.count} rows, and all are empty")
    labels = tuple(sorted(tally.labels, key=lambda label: (isinstance(label, str), label)))
    return Rows(
        path=str(path),
        kind=kind,
        task=_task(path, kind, task),
        count=tally.count,
        empty=tally.empty,
        duplicates=tally.duplicates,
        labels=labels,
        label_counts=dict(tally.labels),
        sample=tuple(tally.sample),
        longest=tally.longest(),
        warnings=_warnings(tally),
    )


def _mixed(kind: RowKind, found: RowKind, first_line: int) -> str:
    if (kind, found) == ("text-label", "text"):
        return f"has no label, and line {first_line} has one"
    return f"is {found}, but line {first_line} is {kind}: one file holds one kind of rows"


class _Tally:
    """Counts over all rows, an even sample (reservoir) and the longest rows, in memory that does not grow."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.count = self.empty = self.duplicates = 0
        self.labels: Counter[Label] = Counter()
        self.sample: list[Sized] = []
        self._longest: list[tuple[int, int, Sized]] = []
        self._seen: set[bytes] = set()
        self._random = random.Random(0)

    def add(self, example: Example) -> None:
        self.count += 1
        self.empty += example.empty
        if example.label is not None:
            self.labels[example.label] += 1
        sized = Sized(_cut(example), example.characters)
        if len(self.sample) < self.size:
            self.sample.append(sized)
        elif (place := self._random.randrange(self.count)) < self.size:
            self.sample[place] = sized
        entry = (sized.characters, self.count, sized)
        if len(self._longest) < LONGEST:
            heapq.heappush(self._longest, entry)
        elif entry > self._longest[0]:
            heapq.heapreplace(self._longest, entry)
        digest = hashlib.blake2b(repr(example).encode("utf-8", "surrogatepass"), digest_size=8).digest()
        if digest in self._seen:
            self.duplicates += 1
        elif len(self._seen) < HASHED:
            self._seen.add(digest)

    def longest(self) -> tuple[Sized, ...]:
        return tuple(sized for _, _, sized in sorted(self._longest, reverse=True))


def _cut(example: Example) -> Example:
    if example.characters <= KEPT_CHARACTERS:
        return example
    left = KEPT_CHARACTERS
    turns: list[tuple[str, str]] = []
    for role, content in example.messages:
        turns.append((role, content[:left]))
        left -= len(content[:left])
    target = example.target[: KEPT_CHARACTERS // 2] if example.target is not None else None
    text = example.text[: KEPT_CHARACTERS - len(target or "")]
    return Example(text, target, example.label, tuple(turns))


def _warnings(tally: _Tally) -> tuple[str, ...]:
    found: list[str] = []
    if tally.empty:
        found.append(f"{tally.empty} of {tally.count} rows are empty")
    if tally.duplicates:
        bound = "at least " if tally.count > HASHED else ""
        found.append(f"{bound}{tally.duplicates} of {tally.count} rows repeat another row")
    if len(tally.labels) == 1:
        found.append(f"all rows have one label, {next(iter(tally.labels))!r}: there is nothing to tell apart")
    if len(tally.labels) > 20 and len(tally.labels) > tally.count / 2:
        found.append(f"{len(tally.labels)} different labels in {tally.count} rows: these look like texts, not classes")
    rare = sum(1 for seen in tally.labels.values() if seen < 5)
    if rare and len(tally.labels) > 1:
        found.append(f"{rare} of {len(tally.labels)} labels have fewer than 5 rows")
    return tuple(found)


def _task(path: Path, kind: RowKind, task: str | None) -> Task:
    chosen: Any = task or ("sequence-classification" if kind == "text-label" else "causal-lm")
    if chosen == "sequence-classification" and kind != "text-label":
        raise BadRequest(
            f"sequence-classification needs text and label, and the rows of {path} are {kind}",
            hints=[f"label columns are called one of: {', '.join(LABELS)}"],
            task=task,
            kind=kind,
        )
    if chosen == "seq2seq" and kind != "prompt-completion":
        raise BadRequest(
            f"seq2seq needs an input and a target, and the rows of {path} are {kind}",
            hints=["columns are called, for example, input and target, or prompt and completion"],
            task=task,
            kind=kind,
        )
    return chosen


def _chat(row: Mapping[str, Any]) -> str | None:
    return next((name for name in CHATS if isinstance(row.get(name), list)), None)


def _has(row: Mapping[str, Any], *names: str) -> bool:
    return all(row.get(name) is not None for name in names)


def _prompt(row: Mapping[str, Any]) -> tuple[str, str] | None:
    return next((pair for pair in PROMPTS if _has(row, *pair)), None)


def _inputs(row: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The columns that make up a text: a pair of sentences or one."""
    pair = next((pair for pair in PAIRS if _has(row, *pair)), None)
    return pair or next(((name,) for name in TEXTS if _has(row, name)), None)


def _label(row: Mapping[str, Any]) -> str | None:
    return next((name for name in LABELS if name in row), None)


def _still(row: Mapping[str, Any], kind: RowKind) -> bool:
    """Whether a row is of the kind of the rows before, without looking at every column name again."""
    if kind == "messages":
        return _chat(row) is not None
    if kind == "prompt-completion":
        return _chat(row) is None and _prompt(row) is not None
    if kind == "text-label":
        return _label(row) is not None and _inputs(row) is not None
    return False


def _kind(path: Path, number: int, row: Mapping[str, Any]) -> RowKind:
    if _chat(row):
        return "messages"
    if _label(row) is not None and _inputs(row):
        return "text-label"
    if _prompt(row):
        return "prompt-completion"
    if _inputs(row):
        return "text"
    known = "text; prompt and completion; messages; text and label; instruction and output; input and target"
    given = ", ".join(map(repr, row)) or "no columns"
    nulls = [name for name, value in row.items() if value is None]
    said = f" ({', '.join(map(repr, nulls))} null)" if nulls else ""
    raise bad(path, f"has {given}{said}, which is none of: {known}", number, hints=_near(path, row))


def near_columns(path: str | os.PathLike[str]) -> list[str]:
    """Which of a file's columns may be misspelt, and what they may be meant as."""
    _, row = next(rows_of(Path(path).expanduser()))
    return _near(Path(path), row)


def _near(path: Path, row: Mapping[str, Any]) -> list[str]:
    known = sorted({*TEXTS, *LABELS, *CHATS, *(name for pair in (*PROMPTS, *PAIRS) for name in pair)})
    strange = [name for name in row if name not in known]
    close = {name: difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6) for name in strange}
    meant = [f"{name!r} may be meant as {found[0]!r}" for name, found in close.items() if found]
    header = path.name.removesuffix(".gz").lower().endswith((".csv", ".tsv"))
    return meant or (["the first line of the table must name its columns"] if header and strange else [])


def _example(path: Path, number: int, row: Mapping[str, Any], kind: RowKind) -> Example:
    fault = functools.partial(_fault, path, number)
    if kind == "messages":
        column = _chat(row)
        turns = _turns(row[column], fault) if column else ()
        return Example("", messages=turns)
    if kind == "prompt-completion":
        return _prompted(row, fault)
    inputs = _inputs(row)
    if inputs is None:
        raise fault("has no text")
    text = "\n".join(_text(row[name], name, fault) for name in inputs)
    if kind == "text":
        return Example(text)
    name = _label(row)
    if name is None:
        raise fault("has no label")
    return Example(text, label=_class(row[name], name, fault))


def _prompted(row: Mapping[str, Any], fault: Any) -> Example:
    columns = _prompt(row)
    if columns is None:
        raise fault("has no prompt and completion")
    prompt, completion = row[columns[0]], row[columns[1]]
    if isinstance(prompt, list) and isinstance(completion, list):
        return Example("", messages=(*_turns(prompt, fault), *_turns(completion, fault)))
    text = _text(prompt, columns[0], fault)
    more = row.get("input") if columns[0] == "instruction" else None
    if more:
        text = f"{text}\n\n{_text(more, 'input', fault)}"
    return Example(text, _text(completion, columns[1], fault))


def _turns(value: list[Any], fault: Any) -> tuple[tuple[str, str], ...]:
    """[{role, content}] or ShareGPT's [{from, value}]; content of parts keeps its text parts."""
    turns: list[tuple[str, str]] = []
    for turn in value:
        if not isinstance(turn, dict):
            raise fault("has a message that is not an object")
        role = turn.get("role", turn.get("from"))
        content = turn.get("content", turn.get("value"))
        if isinstance(content, list):
            content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
        if content is None and isinstance(turn.get("tool_calls"), list):
            content = str(turn["tool_calls"])
        if not isinstance(role, str) or not isinstance(content, str):
            raise fault("has a message without role and content")
        turns.append((ROLES.get(role, role), _writable(content, "content", fault)))
    if not turns:
        raise fault("has no messages")
    return tuple(turns)


def _text(value: Any, column: str, fault: Any) -> str:
    if not isinstance(value, str):
        raise fault(f"has {type(value).__name__} in {column!r} where text is expected")
    return _writable(value, column, fault)


def _writable(value: str, column: str, fault: Any) -> str:
    """JSON's escapes can spell half a character, which no file and no tokenizer takes."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise fault(f"has half a character (a lone surrogate) at {error.start} of {column!r}") from error
    return value


def _class(value: Any, column: str, fault: Any) -> Label:
    """A class name or number; fractions are targets of a regression and lists of several labels, neither is taken."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool):
        value = int(value)
    if (
        value is None or value != value or (isinstance(value, str) and not value.strip())
    ):  # NaN alone differs from itself
        raise fault(f"has no label in {column!r}")
    if not isinstance(value, (str, int)):
        raise fault(f"has {type(value).__name__} in {column!r} where a class is expected")
    return _writable(value, column, fault) if isinstance(value, str) else value


def _fault(path: Path, number: int, reason: str) -> BadFile:
    return bad(path, reason, number)
