"""Points in time as people write them in the files of a plan: dates in UTC, or a while after its begin."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

from advisor.domain.stored import Value
from advisor.domain.units import HOUR

WHILE: Final = re.compile(r"^\+?\s*(\d+(?:\.\d+)?)\s*(m|min|minutes?|h|hours?|d|days?|w|weeks?)$", re.IGNORECASE)
SECONDS: Final = {"m": 60.0, "h": HOUR, "d": 24 * HOUR, "w": 7 * 24 * HOUR}
LONGEST_SECONDS: Final = 50 * 366 * 24 * HOUR
"""Of anything in a plan: beyond it, dates overflow and nobody plans."""
EXAMPLES: Final = "a date in UTC (2026-12-01 18:00), or a while after the plan's begin (36 h, 5 d)"


class Moment(Value):
    """A date, or a number of seconds after the plan's begin; one of them."""

    at: datetime | None = None
    after_seconds: float | None = None

    def seconds_from(self, start: datetime) -> float:
        """Seconds after the plan's begin; negative where it lies before."""
        return self.after_seconds if self.at is None else (self.at - start).total_seconds()  # type: ignore[return-value]


def moment_of(said: Any) -> Any:
    """What a file says of a time, read; what is no time is left for pydantic to refuse.

    Raises:
        ValueError: a text or number that names no time.
    """
    if isinstance(said, Moment):
        return said
    if isinstance(said, datetime):
        return Moment(at=_in_utc(said))
    if isinstance(said, date):
        return Moment(at=datetime(said.year, said.month, said.day, tzinfo=UTC))
    if not isinstance(said, str):
        raise ValueError(f"a time is {EXAMPLES}, not {said!r}")
    found = WHILE.match(said.strip())
    if found:
        seconds = float(found[1]) * SECONDS[found[2][0].lower()]
        if seconds > LONGEST_SECONDS:
            raise ValueError(f"{said!r} is longer than fifty years")
        return Moment(after_seconds=seconds)
    try:
        return Moment(at=_in_utc(datetime.fromisoformat(said.strip())))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"a time is {EXAMPLES}, not {said!r}") from error


When = Annotated[Moment, BeforeValidator(moment_of)]


def _in_utc(said: datetime) -> datetime:
    """A date without a zone is meant in UTC."""
    return said.replace(tzinfo=UTC) if said.tzinfo is None else said.astimezone(UTC)


def date_after(start: datetime, seconds: float) -> datetime:
    """The date so many seconds after the plan's begin, to the second."""
    return start + timedelta(seconds=round(min(seconds, LONGEST_SECONDS)))
