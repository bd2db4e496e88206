"""What every command shares: printing a value for people or programs, and the options that recur."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import rich_click as click

from advisor.domain.plain_values import is_mapping, is_sequence, is_set

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

Function = TypeVar("Function", bound=Callable[..., Any])

PIPED_WIDTH: Final = 140
"""Columns of a table when nobody's terminal says (a pipe, a file): enough that no figure is cut."""

GAP: Final = 2
"""Blanks between two columns of a table."""


def plain(value: Any) -> Any:
    """A result as JSON-ready values: stored nouns with their schema tag, values, mappings, sequences."""
    from pydantic import BaseModel

    from advisor.domain.stored import Stored

    if isinstance(value, Stored):
        return value.to_document()
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if is_mapping(value):
        return {str(key): plain(item) for key, item in value.items()}
    if is_sequence(value) or is_set(value):
        return [plain(item) for item in value]
    return value


_QUIET: Final = "advisor.quiet"


def keep_quiet() -> None:
    """From here on `quiet()` is true, in this run."""
    click.get_current_context().meta[_QUIET] = True


def quiet() -> bool:
    """Whether the answer alone was asked for: no progress, notes or hints."""
    context = click.get_current_context(silent=True)
    return bool(context and context.meta.get(_QUIET))


def typed(*more: str) -> str:
    """The command line as it was typed, with more options, to be copied."""
    context = click.get_current_context(silent=True)
    words = cast("Sequence[str] | None", context.find_root().obj) if context else None
    return clean(shlex.join(["advisor", *(words or ["..."]), *more]).replace("'...'", "..."))


def _parts(shown: Any) -> Iterable[Any]:
    if isinstance(shown, str) or not isinstance(shown, Iterable):
        return [shown]
    return cast("Iterable[Any]", shown)


def emit(value: Any, as_json: bool, table: Callable[[Any], Any] | None = None) -> None:
    """Print a result on stdout: JSON for programs, else what `table(value)` makes of it for people.

    `table` returns a string, anything rich can print, or an iterable of these.
    """
    if as_json or table is None:
        click.echo(clean(json.dumps(plain(value), ensure_ascii=False, indent=2, allow_nan=False)))
        return
    shown = table(value)
    screen = console()
    for part in _parts(shown):
        screen.print(
            clean(part) if isinstance(part, str) else part,
            highlight=False,
            markup=False,
            soft_wrap=isinstance(part, str),
        )


_UNSEEN: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(text: str) -> str:
    """Text that does nothing to a terminal but appear: control characters and changes of direction are spelt out.

    Names, rows and error messages come out of strangers' files, and a terminal obeys what is printed on it. The
    spelling is JSON's own, so that a JSON document stays the same document.
    """
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def console(*, stderr: bool = False) -> Console:
    """A rich console as wide as the terminal, or PIPED_WIDTH where there is none and COLUMNS does not say."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else PIPED_WIDTH
    return Console(file=stream, width=width)


def grid(
    headings: Iterable[str],
    rows: Iterable[Iterable[Any]],
    *,
    title: str | None = None,
    right: str = "",
    whole: str = "",
) -> Table:
    """A table of text cells; headings named in `right` (comma separated) are set right, in `whole` never wrapped."""
    from rich import box
    from rich.table import Table

    aligned, unbroken = (
        {name.strip() for name in names.split(",")} if names else set[str]() for names in (right, whole)
    )
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, GAP - 1, 0, 0))
    for name in headings:
        justify = "right" if name in aligned else "left"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=name in unbroken)
    for row in rows:
        table.add_row(*("" if cell is None else clean(str(cell)) for cell in row))
    return table


def fitted(
    headings: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    first_out: Sequence[str],
    right: str = "",
    wraps: Mapping[str, int] | None = None,
) -> Iterator[Table | str]:
    """A grid in which no cell is cut: columns in `first_out` leave in that order until it fits, and are named.

    Columns of text in `wraps` may break over lines, down to the width given. A terminal too narrow for the columns
    that stay still cuts.
    """
    least = wraps or {}
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    widths = {
        name: GAP + max(len(line) for row in ([name], *([row[i]] for row in cells)) for line in row[0].split("\n"))
        for i, name in enumerate(headings)
    }
    widths = {name: min(width, GAP + least.get(name, width)) for name, width in widths.items()}
    left_out: list[str] = []
    screen = console().width
    for name in first_out:
        if sum(widths.values()) <= screen:
            break
        if widths.pop(name, None):
            left_out.append(name)
    kept = [i for i, name in enumerate(headings) if name in widths]
    shown = [headings[i] for i in kept]
    yield grid(
        shown,
        [[row[i] for i in kept] for row in cells],
        right=right,
        whole=",".join(n for n in shown if n not in least),
    )
    if left_out:
        yield f"narrow  {', '.join(left_out)}: left out; in a wider terminal, or with --json"


Advance = Callable[[int, int, str], None]
"""Told (done, total, what) as work goes on."""


@contextmanager
def progress(text: str) -> Generator[Advance]:
    """How far it is, on stderr: a bar on a terminal, else a line now and then; yields `advance(done, total, what)`."""
    screen = console(stderr=True)
    if quiet():
        yield _unheard
    elif screen.is_terminal:
        bar, advance = progress_bar(text, screen)
        with bar:
            yield advance
    else:
        with _logged(text, counted=True) as advance:
            yield advance


def _unheard(done: int, total: int, what: str) -> None:
    del done, total, what


@contextmanager
def _logged(text: str, *, counted: bool) -> Generator[Advance]:
    from advisor.interfaces.terminal.log_progress import LogProgress

    lines = LogProgress(clean(text), counted=counted)
    try:
        yield lambda done, total, what: lines.advance(done, total, clean(what))
    finally:
        lines.end()


def progress_bar(text: str, screen: Console) -> tuple[Progress, Advance]:
    """A bar with the time it took and the time that is left, not started yet, and what moves it."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *times)
    bar = Progress(*columns, console=screen, transient=True)
    task = bar.add_task(text, total=None)

    def advance(done: int, total: int, what: str) -> None:
        bar.update(task, completed=done, total=total, description=f"{text}: {what}" if what else text)

    return bar, advance


@contextmanager
def waiting(text: str) -> Generator[None]:
    """What is being done and for how long, on stderr, where nobody can say how long is left."""
    screen = console(stderr=True)
    if quiet():
        yield
    elif screen.is_terminal:
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=screen, transient=True) as bar:
            bar.add_task(text, total=None)
            yield
    else:
        with _logged(text, counted=False):
            yield


@contextmanager
def waiting_for(text: str, told: Callable[..., None]) -> Generator[Callable[..., None]]:
    """As `waiting`, until the callable that this yields is called; that then does what `told` does."""
    with ExitStack() as until:
        until.enter_context(waiting(text))

        def heard(*found: Any) -> None:
            until.close()
            told(*found)

        yield heard
