"""What was alive when, from a process's own allocations in order. Bytes and nanoseconds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

SETUP: Final = "setup"
"""The name of the time before the first mark."""


@dataclass(frozen=True, slots=True)
class AllocationEvent:
    """One allocation (positive `size_bytes`), one release (negative), or a mark that begins a stretch of time."""

    at_ns: int
    size_bytes: int = 0
    mark: str = ""


@dataclass(slots=True)
class LiveBytes:
    """Bytes alive over the marked stretches: the most within each, and at the end of each, by its name.

    A name that occurs again keeps its highest peak and its last end.
    """

    peak_bytes: dict[str, int] = field(default_factory=dict[str, int])
    end_bytes: dict[str, int] = field(default_factory=dict[str, int])
    allocations: int = 0

    def peak(self, *names: str) -> int | None:
        """The most alive in any of the stretches; None when none of them happened."""
        found = [self.peak_bytes[name] for name in names if name in self.peak_bytes]
        return max(found) if found else None


def alive_over(moments: Iterable[AllocationEvent]) -> LiveBytes:
    """Add the moments up in the order of time; what began a stretch alive counts within it."""
    found, now, name = LiveBytes(), 0, SETUP
    found.peak_bytes[name] = found.end_bytes[name] = 0
    for moment in sorted(moments, key=lambda m: m.at_ns):
        if moment.mark:
            name = moment.mark
            found.peak_bytes[name] = max(found.peak_bytes.get(name, 0), now)
            found.end_bytes[name] = now
            continue
        now += moment.size_bytes
        found.allocations += moment.size_bytes > 0
        found.peak_bytes[name] = max(found.peak_bytes[name], now)
        found.end_bytes[name] = now
    return found
