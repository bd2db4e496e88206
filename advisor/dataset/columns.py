"""The columns of a data file: what each holds over all rows, and what a user may have named it for."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from advisor.dataset.media import MARKS, MEDIA_NAMES, MEDIA_PARTS, Media, media_of
from advisor.domain.plain_values import is_list, is_mapping
from advisor.errors import BadRequest

ROLES: Final = (
    "text", "label", "prompt", "completion", "messages", "system", "context", "history", "tools", "chosen", "rejected"
)  # fmt: skip
"""What a column can be named for: `--columns text=utterance,label=intent`."""
OTHER_ROLES: Final[Mapping[str, str]] = {
    "input": "prompt",
    "instruction": "prompt",
    "question": "prompt",
    "query": "prompt",
    "output": "completion",
    "target": "completion",
    "answer": "completion",
    "response": "completion",
    "labels": "label",
    "class": "label",
    "conversations": "messages",
    "chat": "messages",
}
"""Other words for a role, understood alike."""

MOST_COLUMNS: Final = 2000
DISTINCT: Final = 200
"""Different short values that are remembered of a column."""
NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
INDEX_NAME: Final = re.compile(r"unnamed: \d+|__index_level_\d+__|column \d+")
"""How pandas and Parquet call the row number that was written with the rows, and how a CSV column without a name is
called here."""
NOT_COUNTED: Final = frozenset({"role", "from", "type"})
"""Keys within a chat turn whose values are form, not content."""


def characters(value: Any, *, chat: bool = False) -> int:
    """Characters of all texts within a value; of a chat without the names of roles and parts."""
    if isinstance(value, str):
        return len(value)
    if is_mapping(value):
        return sum(characters(v, chat=chat) for k, v in value.items() if not (chat and k in NOT_COUNTED))
    if is_list(value):
        return sum(characters(v, chat=chat) for v in value)
    return 0


def is_number(value: Any) -> bool:
    """A number, or a text that is one, as all cells of a CSV file are texts."""
    if isinstance(value, str):
        return len(value) <= 40 and NUMBER.fullmatch(value.strip()) is not None
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def as_float(value: Any) -> float:
    """The number that a value `is_number` is; `strip` takes separators off (`"\\x1f"`) that `float` refuses."""
    return float(value.strip() if isinstance(value, str) else value)


def is_filled(value: Any) -> bool:
    """Whether a cell holds anything."""
    return value is not None and value != "" and value != [] and value != {}


@dataclass(slots=True)
class Column:
    """What one column holds, over the rows seen."""

    name: str
    filled: int = 0
    """Rows in which it holds something."""
    texts: int = 0
    """Rows in which it holds text that is not a number."""
    characters: int = 0
    """Of its texts; numbers written as text count nothing."""
    kinds: set[str] = field(default_factory=set[str])
    """text, number, flag, bytes, object, texts, numbers, flags, objects, lists, mixed."""
    numbers: int = 0
    fractions: int = 0
    media: dict[Media, int] = field(default_factory=dict[Media, int])
    marks: int = 0
    json_lists: int = 0
    """Texts that begin like a JSON list of objects, as a table's cell holds a chat."""
    keys: set[str] = field(default_factory=set[str])
    """Keys of its objects, or of the objects in its lists."""
    values: dict[Any, int] = field(default_factory=dict[Any, int])
    """Short values and how often, up to DISTINCT of them."""
    many: bool = False
    """More different values than are remembered, or long ones."""

    def add(self, value: Any) -> None:
        """Count one cell."""
        if not is_filled(value):
            return
        self.filled += 1
        kind = _kind(value)
        self.kinds.add(kind)
        media = media_of(value)
        if media is not None:
            self.media[media] = self.media.get(media, 0) + 1
        if kind in ("number", "flag", "text"):
            self._scalar(value, kind)
        elif kind != "bytes":
            chat = kind in ("objects", "object")
            size = characters(value, chat=chat)
            self.characters += size
            self.texts += size > 0
            if chat:
                self._object(value)

    def _scalar(self, value: Any, kind: str) -> None:
        if kind != "flag" and is_number(value):
            self.numbers += 1
            # an integer may have more digits than a float can hold
            self.fractions += not isinstance(value, int) and as_float(value) % 1 != 0
        elif kind == "text":
            self.texts += 1
            self.characters += len(value)
            self.marks += any(mark in value for mark in MARKS)
            self.json_lists += value.lstrip()[:2] == "[{"
        if isinstance(value, str) and len(value) > 80:
            self.many = True
        elif value in self.values or len(self.values) < DISTINCT:
            self.values[value] = self.values.get(value, 0) + 1
        else:
            self.many = True

    def _object(self, value: Any) -> None:
        parts = [part for part in (value if is_list(value) else [value]) if is_mapping(part)]
        for part in parts:
            self.keys.update(part)
        said = [part.get("content", part.get("value")) for part in parts]
        self.marks += any(isinstance(text, str) and any(mark in text for mark in MARKS) for text in said)
        inner = [p for text in said if is_list(text) for p in text if is_mapping(p)]
        found = next((MEDIA_PARTS[t] for p in inner if isinstance(t := p.get("type"), str) and t in MEDIA_PARTS), None)
        if found is not None:
            self.media[found] = self.media.get(found, 0) + 1

    @property
    def numeric(self) -> bool:
        """Every value is a number."""
        return self.filled > 0 and self.numbers == self.filled

    @property
    def textual(self) -> bool:
        """Single texts, at least one of which is no number."""
        return self.texts > 0 and "text" in self.kinds

    @property
    def flags(self) -> bool:
        """Yes or no in every row, however written."""
        said = {str(value).strip().lower() for value in self.values}
        return bool(said) and not self.many and said <= {"true", "false", "0", "1", "0.0", "1.0", "yes", "no"}

    def media_kind(self) -> Media | None:
        """What it holds besides text, where all of it is, or its name says so and it is no running text."""
        if self.media:
            media, count = max(self.media.items(), key=lambda item: item[1])
            if count == self.filled or self.kinds & {"objects"}:
                return media
        named = MEDIA_NAMES.get(self.name.lower())
        return named if named and self.kinds & {"bytes", "object", "objects", "lists", "numbers", "texts"} else None

    def is_index(self) -> bool:
        """A row number that was written with the rows."""
        return INDEX_NAME.fullmatch(self.name.lower()) is not None and (self.numeric or not self.filled)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, bytes):
        return "bytes"
    if is_mapping(value):
        return "object"
    if is_list(value):
        inner = {_kind(part) for part in value if part is not None}
        if len(inner) == 1 and (alone := inner.pop()) in ("flag", "number", "text", "object"):
            return f"{alone}s"
        return "lists"
    return "mixed"


class Columns:
    """All columns of a file by name, with what they hold over the rows seen so far."""

    def __init__(self, rows: Sequence[Mapping[str, Any]] = ()) -> None:
        self.by_name: dict[str, Column] = {}
        self.rows = 0
        self.more = 0
        for row in rows:
            self.add(row)

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one row."""
        self.rows += 1
        for name, value in row.items():
            column = self.by_name.get(name)
            if column is None:
                if len(self.by_name) >= MOST_COLUMNS:
                    self.more += 1
                    continue
                column = self.by_name[name] = Column(name)
            column.add(value)

    def __iter__(self) -> Iterator[Column]:
        return iter(self.by_name.values())

    def find(self, name: str) -> Column | None:
        """The column of a name, else of that name in other case, that holds something in some row."""
        exact = self.by_name.get(name)
        if exact is None:
            same = [column for column in self if column.name.strip().lower() == name]
            exact = same[0] if len(same) == 1 else None
        return exact if exact is not None and exact.filled else None

    def first(self, names: Sequence[str], *kinds: str) -> Column | None:
        """The first of these names that is here, of one of these kinds."""
        found = (self.find(name) for name in names)
        return next((column for column in found if column and (not kinds or column.kinds <= set(kinds))), None)

    @functools.cached_property
    def characters(self) -> int:
        """Of all texts in all rows; read once no row follows."""
        return sum(column.characters for column in self)


def named_columns(given: Mapping[str, str] | str | None) -> dict[str, tuple[str, ...]]:
    """Columns by role, as a user named them: `{"text": "title+body"}` or `text=title+body,label=kind`.

    Raises:
        BadRequest: no such role, or one named twice.
    """
    if given is None:
        return {}
    split = (part.partition("=") for part in given.split(",")) if isinstance(given, str) else ()
    pairs = list(given.items()) if isinstance(given, Mapping) else [(role, name) for role, _, name in split]
    found: dict[str, tuple[str, ...]] = {}
    for asked, value in pairs:
        role = asked.strip().lower()
        role = role if role in ROLES else OTHER_ROLES.get(role, role)
        names = tuple(name.strip() for name in str(value).split("+"))
        if role not in ROLES:
            near = difflib.get_close_matches(role, [*ROLES, *OTHER_ROLES], n=1)
            meant = [f"{asked.strip()!r} may be meant as {near[0]!r}"] if near else []
            raise BadRequest(
                f"--columns names columns for a role each, and {asked.strip()!r} is none",
                hints=[*meant, f"roles are: {', '.join(ROLES)}", "for example: --columns text=utterance,label=intent"],
                columns=dict(pairs),
            )
        if role in found or not all(names):
            why = "is named twice" if role in found else "has no column"
            raise BadRequest(f"--columns: {role} {why}", hints=["for example: --columns text=utterance,label=intent"])
        found[role] = names
    return found
