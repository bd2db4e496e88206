"""Units and bases. Inside advisor everything is bytes, seconds, FLOP and USD; GiB and hours are for readers."""

from __future__ import annotations

from typing import Final, Literal

Unit = Literal["B", "s", "FLOP", "USD", "score", "tokens/s", "images/s", "samples/s", "ratio", "count"]
Basis = Literal["measured", "calibrated", "modelled", "assumed"]

WEAKER: Final[tuple[Basis, ...]] = ("measured", "calibrated", "modelled", "assumed")
"""From the strongest basis to the weakest; a sum has the weakest basis of its parts."""

KIB: Final = 2**10
MIB: Final = 2**20
GIB: Final = 2**30
HOUR: Final = 3600.0


def weakest(*bases: Basis) -> Basis:
    """The weakest of the bases given."""
    return max(bases, key=WEAKER.index)


def gib(size_bytes: float) -> str:
    """Bytes for a reader: `21.0 GiB`, `312 MiB` below one GiB."""
    if abs(size_bytes) >= GIB:
        return f"{size_bytes / GIB:.1f} GiB"
    return f"{size_bytes / MIB:.0f} MiB"


def plural(number: float, noun: str) -> str:
    """A count with its noun: `1 step`, `2,000 steps`, `0.5 epochs`."""
    said = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    return f"{said} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float, like: float | None = None) -> str:
    """Seconds for a reader: `117 ms`, `42 s`, `12 m`, `1 h 52 m`, `3 d 4 h`.

    `like`: another number of seconds, whose units are taken, so that the ends of an interval read like its middle.
    """
    kind = seconds if like is None else like
    if kind < 1:
        return f"{seconds * 1e3:.0f} ms"
    if kind < 90:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    if round(kind / 60) < 60:
        return f"{minutes} m" if like is None or seconds >= 90 else f"{seconds / 60:.2g} m"
    if round(kind / 60) < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} m"
    hours = round(seconds / HOUR)
    return f"{hours // 24} d {hours % 24} h"
