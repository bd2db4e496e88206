"""When machines may be used: hours of the week in UTC, as arithmetic between clock time and machine time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from advisor.domain.stored import Value

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY: Final = 86400
WEEK: Final = 7 * DAY
_SPAN: Final = re.compile(r"^(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})$")


def open_spans(hours: str, days: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Open spans of a week in seconds after Monday 00:00, ascending and apart.

    A span over midnight is of the day on which it begins.

    Args:
        hours: `18:00-08:00`; empty: all day.
        days: `mon`, `tue` ...; empty: every day.

    Raises:
        ValueError: no such hours or days, or none open.
    """
    found = _SPAN.match(hours.strip() or "0:00-24:00")
    if not found:
        raise ValueError(f"hours are written 18:00-08:00, not {hours!r}")
    first, last = (int(found[i]) * 3600 + int(found[i + 1]) * 60 for i in (1, 3))
    if int(found[2]) > 59 or int(found[4]) > 59 or first >= DAY or last > DAY or first == last:
        raise ValueError(f"{hours!r} is no span of hours of a day")
    length = last - first if last > first else last + DAY - first
    strange = [day for day in days if day.lower()[:3] not in DAYS]
    if strange:
        raise ValueError(f"days are {', '.join(DAYS)}, not {strange[0]!r}")
    opened = {DAYS.index(day.lower()[:3]) for day in days} or set(range(7))
    cut: list[tuple[int, int]] = []
    for day in opened:
        begin, end = day * DAY + first, day * DAY + first + length
        # what passes Sunday's midnight is of the next week's beginning
        cut += [(begin, end)] if end <= WEEK else [(begin, WEEK), (0, end - WEEK)]
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(cut):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return tuple(joined)


class Calendar(Value):
    """Open spans of every week, seen from the plan's begin. Clock and machine times are seconds after that."""

    spans: tuple[tuple[int, int], ...] = ((0, WEEK),)
    offset: float = 0.0
    """Seconds of the plan's begin after Monday 00:00."""

    @classmethod
    def from_start(cls, spans: tuple[tuple[int, int], ...], start: datetime) -> Calendar:
        """The calendar of a plan that begins at `start`, UTC."""
        offset = start.weekday() * DAY + start.hour * 3600 + start.minute * 60 + start.second
        return cls(spans=spans, offset=float(offset))

    @property
    def always(self) -> bool:
        return self.spans == ((0, WEEK),)

    @cached_property
    def _clock(self) -> NDArray[np.float64]:
        """Beginnings and ends of the spans of a week."""
        return np.array([end for span in self.spans for end in span], dtype=float)

    @cached_property
    def _opened(self) -> NDArray[np.float64]:
        """Open seconds of the week at each of them."""
        lengths = [length for begin, end in self.spans for length in (0.0, float(end - begin))]
        return np.cumsum(lengths)

    def machine_time(self, clock: Any) -> Any:
        """Open seconds between the plan's begin and a clock time, for numbers and arrays; negative before it."""
        if self.always:
            return clock
        return self._since_monday(np.asarray(clock) + self.offset) - self._since_monday(np.asarray(self.offset))

    def _since_monday(self, seconds: Any) -> Any:
        weeks = np.floor(seconds / WEEK)
        inside = np.interp(np.asarray(seconds - weeks * WEEK, dtype=float), self._clock, self._opened)
        return weeks * self._opened[-1] + inside

    def clock_time(self, machine: Any) -> Any:
        """The first clock time by which so many open seconds have passed since the plan's begin."""
        if self.always:
            return machine
        whole = np.asarray(machine) + self._since_monday(np.asarray(self.offset))
        total = self._opened[-1]
        # what ends exactly with a week's last span has ended then, not with the next week's first
        weeks = np.maximum(np.ceil(whole / total - 1e-12) - 1, 0)
        inside = np.asarray(np.minimum(np.maximum(whole - weeks * total, 0.0), total), dtype=float)
        at = np.minimum(np.searchsorted(self._opened, inside - 1e-9, side="left"), len(self._clock) - 1)
        within = self._clock[at] - (self._opened[at] - inside)
        return weeks * WEEK + np.where(inside > 1e-9, within, 0.0) - self.offset

    def closings(self, begin: Any, end: Any) -> Any:
        """How often the machines close between two clock times at which they are open."""
        if self.always:
            return np.zeros_like(np.asarray(end, dtype=float))
        return self._closed_before(end) - self._closed_before(begin)

    def _closed_before(self, clock: Any) -> Any:
        seconds: Any = np.asarray(clock, dtype=float) + self.offset
        weeks: Any = np.floor(seconds / WEEK)
        ends = np.array([end for _, end in self.spans], dtype=float)
        inside = np.asarray(seconds - weeks * WEEK, dtype=float)
        return weeks * len(ends) + np.searchsorted(ends, inside, side="left")

    def opens_at(self, clock: Any) -> Any:
        """The same clock time, or where the machines are closed then, the next at which they open."""
        if self.always:
            return clock
        seconds = np.asarray(clock) + self.offset
        weeks = np.floor(seconds / WEEK)
        inside = seconds - weeks * WEEK
        begins = np.array([begin for begin, _ in self.spans] + [self.spans[0][0] + WEEK], dtype=float)
        ends = np.array([end for _, end in self.spans], dtype=float)
        at = np.searchsorted(ends, inside, side="right")
        return weeks * WEEK + np.maximum(inside, begins[at]) - self.offset

    def finish(self, begin: Any, work: Any, reload_seconds: float) -> Any:
        """When so much work is done that begins at a clock time; each closing in between costs a reload."""
        if self.always:
            return begin + work
        begin = self.opens_at(begin)
        at = self.machine_time(begin)
        done = self.clock_time(at + work)
        for _ in range(2):
            done = self.clock_time(at + work + reload_seconds * self.closings(begin, done))
        return np.maximum(done, begin)
