"""Peak memory as one line of a terminal: a stretch for each part, the room that is left, the card's limit."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from advisor.domain.units import GIB, MIB

if TYPE_CHECKING:
    from advisor.domain.candidate import Candidate

GLYPHS: Final = "█▓▒░"
PLAIN_GLYPHS: Final = "#=+-"
"""For streams that cannot say the others."""
FREE: Final = "·"
PLAIN_FREE: Final = "."
LIMIT: Final = "|"
OTHERS: Final = "other"
SHORT: Final = {
    "saved activations": "activations",
    "base weights": "weights",
    "logits and loss": "logits",
    "optimizer state": "optimizer",
}
"""Shorter words for parts of memory, so that what the bar means fits on a line."""


def memory_bar(candidate: Candidate, width: int) -> Iterator[str]:
    """The bar, and what its stretches mean; parts are told apart by their glyph, so that no colour is needed.

    Args:
        width: columns of the bar, brackets not counted.
    """
    limit, peak = candidate.limit_bytes, round(candidate.memory.peak_device.mid)
    parts = largest(candidate.memory.breakdown, len(GLYPHS))
    glyphs, free = (GLYPHS, FREE) if _can_say(GLYPHS + FREE) else (PLAIN_GLYPHS, PLAIN_FREE)
    scale = width / max(limit, peak)
    bar, reached = "", 0.0
    for glyph, size in zip(glyphs, parts.values(), strict=False):
        reached += size * scale
        bar += glyph * (round(reached) - len(bar))
    bar = (bar + free * width)[:width]
    if peak > limit:
        at = round(limit * scale)
        bar = f"{bar[:at]}{LIMIT}{bar[at:]}"
    unit, says = (GIB, "GiB") if peak >= GIB else (MIB, "MiB")
    sizes = [(glyph, name, size) for glyph, (name, size) in zip(glyphs, parts.items(), strict=False)]
    sizes.append((free, "free", limit - peak) if peak <= limit else (LIMIT, "limit", limit))
    told = [f"{glyph} {SHORT.get(name, name)} {size / unit:.{1 if unit == GIB else 0}f}" for glyph, name, size in sizes]
    yield f"[{bar}] {says}"
    yield " ".join(told)


def largest(breakdown: Mapping[str, int], count: int) -> dict[str, int]:
    """The largest parts by name, the rest of them together; what is nothing is left out."""
    ordered = sorted(((name, size) for name, size in breakdown.items() if size > 0), key=lambda part: -part[1])
    if len(ordered) <= count:
        return dict(ordered)
    return {**dict(ordered[: count - 1]), OTHERS: sum(size for _, size in ordered[count - 1 :])}


def _can_say(text: str) -> bool:
    """Whether stdout's encoding has these characters."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
