"""How one argument of a verb is described once: for its Python type, its validation, its option and its schema."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

Reading = Literal["", "time", "size", "count"]
"""How a typed text becomes a number: a time as `10m`, a size of memory as `8GiB`, a count as `2K` or `8e9`."""


@dataclass(frozen=True, slots=True)
class Argument:
    """What the command line, the JSON schema and the validation say of one argument.

    `shown_default` is for the help alone: where a request leaves the value open, what is taken is decided later.
    `earlier` are spellings of the command line that people's scripts still use.
    """

    help: str
    metavar: str = ""
    shown_default: str = ""
    flag: str = ""
    short: str = ""
    earlier: tuple[str, ...] = ()
    switch: bool = False
    """True: the option can only be turned on; False: a bool is `--name/--no-name`."""
    repeated: bool = False
    """The option may be given again; unlike one of several values, it is not split at commas."""
    reads: Reading = ""
    hidden: bool = False
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    least_length: int | None = None
    words: tuple[tuple[str, str], ...] = ()
    """Other spellings of a value, each with the one that is meant."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        schema = handler(source)
        bounds = {"ge": self.ge, "gt": self.gt, "le": self.le, "lt": self.lt, "min_length": self.least_length}
        bounded: Any = {**schema, **{name: bound for name, bound in bounds.items() if bound is not None}}
        if not self.words:
            return bounded
        from pydantic import BeforeValidator

        known = dict(self.words)

        def meant(value: Any) -> Any:
            return known.get(value, value) if isinstance(value, str) else value

        return BeforeValidator(meant).__get_pydantic_core_schema__(source, lambda _: bounded)  # pyright: ignore

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        return {**handler(schema), "description": self.help}

    def refusal(self, value: float) -> str:
        """Why a number is out of its bounds, as `at least 1 and at most 100`; empty where it is within them."""
        within = (
            (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
        )
        return "" if within else bounds_said({"ge": self.ge, "gt": self.gt, "le": self.le, "lt": self.lt})


@dataclass(frozen=True, slots=True)
class VerbDetail:
    """What one verb adds to an argument that several share: sentences after the common one, its own default."""

    says: str = ""
    shown_default: str = ""
    earlier: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Described:
    """A hint taken apart: `Annotated[kind, Argument]`, perhaps with a `VerbDetail`, `| Sequence[...]` and `| None`."""

    kind: Any
    """str, int, float, bool, or a Literal."""
    about: Argument
    detail: VerbDetail
    several: bool
    """One value or a sequence of them; on the command line separated by commas."""
    may_be_unsaid: bool

    @property
    def text(self) -> str:
        """The help of the option: the sentence that all verbs share, then what this verb adds."""
        default = self.detail.shown_default or self.about.shown_default
        said = f"{self.about.help} {self.detail.says}".rstrip()
        return said + (f"  [default: {default}]" if default else "")

    @property
    def metavar(self) -> str:
        """The placeholder of the value, as `NAME` or `NAME,...`."""
        whole = {int: "INTEGER", float: "FLOAT", bool: "off|on|both"}.get(self.kind, "TEXT")
        one = self.about.metavar or whole
        return f"{one},..." if self.several and self.kind is not bool else one


def described(hint: Any) -> Described:
    """The argument that a hint of a verb's options describes.

    Raises:
        TypeError: nothing in the hint is an `Argument`.
    """
    kind, about, detail, several, unsaid = _taken_apart(hint)
    if about is None:
        raise TypeError(f"no Argument describes {hint}")
    return Described(kind, about, detail or VerbDetail(), several, unsaid)


def bounds_said(bounds: Any) -> str:
    """`at least 1 and at most 100` of `{"ge": 1, "le": 100}`; what is None or no bound is passed over."""
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    return " and ".join(f"{said} {_number(bounds[key])}" for key, said in words.items() if bounds.get(key) is not None)


def _number(bound: float) -> str:
    if not float(bound).is_integer():
        return f"{bound:g}"
    # a port is written as one, a million is read by its commas
    return f"{int(bound):,}" if abs(bound) >= 10**6 else f"{int(bound)}"


def _taken_apart(hint: Any) -> tuple[Any, Argument | None, VerbDetail | None, bool, bool]:
    if get_origin(hint) is Annotated:
        inner, *more = get_args(hint)
        kind, about, detail, several, unsaid = _taken_apart(inner)
        for one in more:
            about = one if isinstance(one, Argument) else about
            detail = one if isinstance(one, VerbDetail) else detail
        return kind, about, detail, several, unsaid
    if get_origin(hint) not in (Union, UnionType):
        return hint, None, None, False, False
    members = [part for part in get_args(hint) if part is not NoneType]
    parts = [_taken_apart(part) for part in members]
    told = [part for part in parts if part[1] is not None] or parts
    kind, about, detail, several, _ = told[0]
    several = several or any(get_origin(part) is Sequence for part in members)
    if about is None and len(members) > 1:
        # a value that several types may hold, such as a number or a text of it
        kind = hint
    return kind, about, detail, several, len(members) < len(get_args(hint))
