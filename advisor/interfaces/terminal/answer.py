"""The first screen of an answer: a sentence, its figures, a bar of memory, what else there is, what to type next."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from advisor.domain.units import duration, plural
from advisor.interfaces import verdict
from advisor.interfaces.amounts import amount
from advisor.interfaces.cli.output import clean, console, quiet, typed
from advisor.interfaces.terminal.memory_bar import memory_bar

if TYPE_CHECKING:
    from advisor.domain.candidate import Candidate
    from advisor.domain.recommendation import Recommendation

INDENT: Final = 9
"""Columns before what is said under a name."""
WIDEST: Final = 100
"""Columns that a line of words may take: longer ones are hard to read."""
BAR: Final = 60
RIVALS: Final = 3
"""Other methods in a short answer."""
END: Final = 6
"""Lines after the notes: a blank one, what to type next on up to two, what else there is on two, and the prompt."""


def recommended(found: Recommendation) -> Iterator[Any]:
    """A recommendation on one screen, with as many of its notes as the terminal has room for."""
    lines = [*_wrapped("", verdict.of_recommendation(found)), "", *_facts(found.choice, spot=found.spot)]
    settings = verdict.settings(found)
    if settings:
        lines += _wrapped("settings", settings)
    yield from lines
    if quiet():
        return
    rivals = list(_rivals(found))
    yield from rivals
    notes = list(verdict.unresolved(found.notes))
    shown = _that_fit(notes, len(lines) + len(rivals) + END)
    yield from _notes(shown)
    more = max(0, len(found.ranked) - 1 - RIVALS)
    counted = [f"{more} more ranked"] if more else []
    counted += [plural(len(notes) - len(shown), "more note")] if len(shown) < len(notes) else []
    counted += [f"{len(found.refused)} not offered"] if found.refused else []
    tool = exportable(found)
    yield from _next(
        typed("--export", tool, "-o", "run") if tool else typed("--explain"),
        f"{', '.join([*counted, 'reasons and sources'])}: add --explain",
    )


def estimated(candidate: Candidate) -> Iterator[Any]:
    """An estimate on one screen."""
    yield from _wrapped("", verdict.of_candidate(candidate))
    yield ""
    yield from _facts(candidate)
    if quiet():
        return
    yield from _notes((*candidate.warnings, *candidate.time.advice[:1]))
    more = ["hours and money: add --samples"] if candidate.time.training is None else []
    yield from _next(
        shlex.join(["advisor", "recommend", "--model", candidate.workload.model, "--gpu", candidate.gpu]),
        "; ".join([*more, "all parts: add --explain"]),
    )


def _facts(candidate: Candidate, *, spot: bool = False) -> Iterator[str]:
    for name, text in verdict.facts(candidate, spot=spot):
        if name == verdict.TO_FIT and quiet():
            continue
        yield from _wrapped(name, text)
        if name == "memory":
            bar, told = memory_bar(candidate, min(BAR, console().width - INDENT - 7))
            yield f"{'':{INDENT}}{bar}"
            yield from _wrapped("", told, INDENT)


def _rivals(found: Recommendation) -> Iterator[str]:
    """The next methods of the ranking, a line each."""
    rows = [
        (
            candidate.recipe.method,
            amount(candidate.memory.peak_device.mid, "B"),
            "" if (training := candidate.time.training) is None else duration(training.mid),
            "" if (paid := candidate.money.at(spot=found.spot)) is None else amount(paid.mid, paid.unit),
            "" if (effect := verdict.quality_of(candidate)) is None else f"{amount(effect.mid, effect.unit)} points",
        )
        for candidate in found.ranked[1 : 1 + RIVALS]
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        cells = [f"{cell:{width}}" for cell, width in zip(row, widths, strict=True) if width]
        yield from _wrapped("instead" if number == 0 else " ", "  ".join(cells))


def _notes(notes: Iterable[str]) -> Iterator[str]:
    for note in notes:
        yield from _wrapped("note", note)


def _that_fit(notes: list[str], used: int) -> list[str]:
    """The first notes that a terminal shows on one screen beside so many lines; all where nothing is cut off."""
    screen = console()
    room = screen.height - used
    if not screen.is_terminal:
        return notes
    for number, note in enumerate(notes):
        room -= len(list(_wrapped("note", note)))
        if room < 0:
            return notes[:number]
    return notes


def _next(command: str, more: str) -> Iterator[str]:
    """What to type, on one line however long, so that it can be copied; and what else there is."""
    yield ""
    yield f"{'next':{INDENT}}{command}"
    yield from _wrapped("more", more)


def _wrapped(name: str, text: str, indent: int | None = None) -> Iterator[str]:
    """Words under a name, broken at the terminal's width; without a name from the first column."""
    first = INDENT if name else 0
    hanging = first if indent is None else indent
    width = max(INDENT + 20, min(WIDEST, console().width))
    yield from textwrap.wrap(
        clean(text),
        width=width,
        initial_indent=f"{name:{hanging}}",
        subsequent_indent=" " * hanging,
        break_on_hyphens=False,
        break_long_words=False,
    )


def exportable(found: Recommendation) -> str:
    """The first tool that can train the choice; a script of advisor's own method is left to `advisor tune`.

    Empty where the training is priced and not exported.
    """
    from advisor.exporters.export import tools_for

    asked = found.workload
    other = "script" if asked.objective == "sft" and asked.task != "denoising" else ""
    return next(iter(tools_for(found)), other)
