"""Rows on stderr while methods are priced: on a terminal a live table, gone when the answer is there; else lines.

The lines are for logs: none before two seconds have passed, no control characters, one for each method.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from advisor.domain.units import duration
from advisor.interfaces.cli.output import clean, console, progress_bar, quiet
from advisor.interfaces.priced_row import HEADS, PricedRow, row_of
from advisor.interfaces.terminal.log_progress import PATIENCE

if TYPE_CHECKING:
    from rich.console import Console

BESIDE: Final = 6
"""Lines of a terminal that are no rows: the headings, the counts, the bar, and room for what was typed."""
WIDTHS: Final = (26, 9, 11, 12)
"""Columns of a line's cells."""


@contextmanager
def rows_as_priced(text: str) -> Generator[tuple[Callable[[int, int, str], None], Callable[[Any], None]]]:
    """Yields (on_progress, on_priced) of `advisor.recommend`; both do nothing under --quiet.

    Args:
        text: what is being done, before the count.
    """
    screen = console(stderr=True)
    if quiet():
        yield _unheard, _unheard
    elif screen.is_terminal and not screen.is_dumb_terminal:
        with _live(text, screen) as told:
            yield told
    else:
        lines = RowLines(text)
        try:
            yield lines.advance, lines.priced
        finally:
            lines.end()


def _unheard(*told: Any) -> None:
    del told


@contextmanager
def _live(text: str, screen: Console) -> Generator[tuple[Callable[[int, int, str], None], Callable[[Any], None]]]:
    from rich.live import Live

    bar, advance = progress_bar(text, screen)
    shown = ShownRows()

    def frame() -> Any:
        from rich.console import Group

        return Group(*shown.parts(max(3, screen.height - BESIDE)), bar.get_renderable())

    with Live(console=screen, transient=True, get_renderable=frame) as live:

        def priced(outcome: Any) -> None:
            shown.add(outcome)
            live.refresh()

        yield advance, priced


class ShownRows:
    """The rows so far; those of cards go when those of the chosen card's methods come."""

    def __init__(self) -> None:
        self.rows: list[PricedRow] = []
        self._kind: type | None = None

    def add(self, outcome: Any) -> PricedRow:
        """Keep an outcome as a row."""
        if self._kind is not type(outcome):
            self._kind, self.rows = type(outcome), []
        self.rows.append(row_of(outcome))
        return self.rows[-1]

    def parts(self, most: int) -> list[Any]:
        """The last rows under their headings, so many at most, and how many there are."""
        from rich.table import Table
        from rich.text import Text

        rows = list(self.rows)
        if not rows:
            return []
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for head in HEADS:
            table.add_column(head, justify="right" if head in (HEADS.memory, HEADS.time) else "left", no_wrap=True)
        for row in rows[-most:]:
            style = "" if row.verdict == "fits" else "dim"
            table.add_row(*(Text(clean(cell)) for cell in row), style=style)
        return [table, Text(self.counted(), style="bold")]

    def counted(self) -> str:
        """How many are priced and how many of them fit."""
        fit = sum(row.verdict == "fits" for row in self.rows)
        return f"{len(self.rows)} priced, {fit} fit; ranked when all are"


class RowLines:
    """A line a method on a stderr that is no terminal, from the time on that the wait is long enough to wonder."""

    def __init__(self, text: str, patience: float = PATIENCE) -> None:
        self._text = text
        self._shown = ShownRows()
        self._unsaid: list[str] = []
        self._begun = time.monotonic()
        self._done = self._total = 0
        self._lock = threading.Lock()
        self._speaking = self._headed = False
        self._clock = threading.Timer(patience, self._begin)
        self._clock.daemon = True
        self._clock.start()

    def advance(self, done: int, total: int, what: str) -> None:
        """How far it is; told before each method."""
        del done, what
        with self._lock:
            if total != self._total:
                # of cards first, then of the chosen card's methods
                self._total, self._done, self._headed, self._begun = total, 0, False, time.monotonic()
            self._head()

    def priced(self, outcome: Any) -> None:
        """A method's outcome; those known without waiting are no news to a log."""
        row = self._shown.add(outcome)
        if not self._total:
            return
        with self._lock:
            self._done += 1
            name, memory, took, verdict = (clean(cell) for cell in row)
            cells = f"{name:{WIDTHS[0]}} {memory:>{WIDTHS[1]}} {took:>{WIDTHS[2]}}  {verdict:{WIDTHS[3]}}"
            self._unsaid.append(f"{cells} {self._how_far()}")
            if self._speaking:
                self._say()

    def _how_far(self) -> str:
        left = (time.monotonic() - self._begun) / self._done * (self._total - self._done)
        return f"{self._done} of {self._total}" + (f", about {duration(max(1.0, round(left)))} left" if left else "")

    def end(self) -> None:
        """Nothing is said any more."""
        self._clock.cancel()
        with self._lock:
            self._speaking, self._unsaid = False, []

    def _begin(self) -> None:
        with self._lock:
            self._speaking = True
            self._head()
            self._say()

    def _head(self) -> None:
        """The first line, once it is known how many there are: a wrong question is refused before."""
        if self._speaking and self._total and not self._headed:
            self._headed = True
            print(f"{self._text} {self._total}: a row each, the answer when all are there", file=sys.stderr, flush=True)

    def _say(self) -> None:
        for line in self._unsaid:
            print(line, file=sys.stderr)
        self._unsaid = []
        sys.stderr.flush()
