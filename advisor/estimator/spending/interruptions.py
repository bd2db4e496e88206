"""Machines that are taken away and given back: what a training takes and costs on them.

Interruptions come at random, one as likely at any moment as at any other, while training as while starting again.
Each loses what was done since the last checkpoint, and then a restart. Writing checkpoints is not counted.

Source:
    Daly 2006, doi:10.1016/j.future.2004.11.016, equation 20, with checkpoints that are written in no time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Protocol

from advisor.domain.hardware import Hardware, Interruptions
from advisor.domain.quantity import Quantity
from advisor.domain.units import duration
from advisor.errors import BadRequest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

MOST: Final = 20.0
"""Interruptions expected in one span between checkpoints beyond which a training is said never to reach the next."""
SMALL: Final = 1e-3
"""Interruptions expected in a span below which differences of exponentials are replaced by their first terms."""
DRAWS: Final = 4000
ENDS: Final = (0.05, 0.95)


class _Asked(Protocol):
    @property
    def interruptions_per_hour(self) -> float | None: ...
    @property
    def checkpoint_minutes(self) -> float | None: ...
    @property
    def restart_minutes(self) -> float | None: ...


def interruptions_asked(asked: _Asked) -> Interruptions | None:
    """The interruptions that a request says; None where it says nothing.

    Raises:
        BadRequest: some of the three are said and others not: nobody knows them, so none is assumed.
    """
    names = ("interruptions_per_hour", "checkpoint_minutes", "restart_minutes")
    said = {name: getattr(asked, name) for name in names}
    missing = [f"--{name.replace('_', '-')}" for name, value in said.items() if value is None]
    if len(missing) == len(names):
        return None
    if missing:
        raise BadRequest(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing",
            cause="how long a training takes on a spot machine follows from all three together",
            hints=["for example: --interruptions-per-hour 0.05 --checkpoint-minutes 15 --restart-minutes 5"],
            field=missing[0].removeprefix("--").replace("-", "_"),
        )
    return Interruptions.model_validate({"per_hour": said.pop("interruptions_per_hour"), **said})


def lengthening(one: Interruptions, span: float | None = None) -> float:
    """Machine time by training time, expected.

    Args:
        span: seconds of training between checkpoints, where it is not that of `one`.
    """
    rate, between = one.per_second, one.checkpoint_seconds if span is None else span
    inside = min(rate * between, MOST)
    return math.exp(min(rate * one.restart_seconds, MOST)) * (math.expm1(inside) / inside if inside else 1.0)


def lost_seconds(one: Interruptions, work: Numbers, random: np.random.Generator, span: float | None = None) -> Numbers:
    """Seconds that interruptions cost trainings of `work` seconds, drawn: their mean is (lengthening - 1) x work.

    Each span is begun again until it is passed once: how often over all spans is a negative binomial law. What the
    failed ones and the restarts took is drawn as a normal law of their sum, within what is possible.
    """
    import numpy as np

    rate, between = one.per_second, one.checkpoint_seconds if span is None else span
    if not rate:
        return np.zeros(np.shape(work))
    inside, again = min(rate * between, MOST), min(rate * one.restart_seconds, MOST)
    number = random.negative_binomial(np.maximum(work / between, 1e-9), math.exp(-inside)).astype(float)
    mean, spread = _of_a_failed_span(inside)
    noise = random.standard_normal(np.shape(work)) * np.sqrt(number) * spread
    restart = math.expm1(again) / rate
    return np.clip(number * mean + noise, 0.0, number) * between + number * restart


def _of_a_failed_span(inside: float) -> tuple[float, float]:
    """Mean and standard deviation of the share of a span that was done when it was interrupted."""
    if inside < SMALL:
        return 0.5 - inside / 12, math.sqrt(1 / 12)
    over = math.expm1(inside)
    variance = 1 / inside**2 - math.exp(inside) / over**2
    return 1 / inside - 1 / over, math.sqrt(max(variance, 0.0))


def on_spot(training: Quantity, hardware: Hardware) -> Quantity | None:
    """Seconds of a training on a machine that may be taken away; None where nobody said how often.

    The ends are those of the training with fewest and most interruptions, nine times in ten, so that the range is
    rather too wide than too narrow. A job on several machines stops where one of them does.

    Raises:
        BadRequest: interrupted so often that no checkpoint is ever reached.
    """
    one = hardware.interruptions
    if one is None:
        return None
    if hardware.nodes > 1:
        one = one.model_copy(update={"per_hour": one.per_hour * hardware.nodes})
    # what is shorter than the time between checkpoints begins again from its start
    span = max(min(one.checkpoint_seconds, training.mid), 1e-3)
    if one.per_second * (span + one.restart_seconds) > MOST:
        raise BadRequest(
            f"interrupted {one.per_hour:g} times an hour, a training that is saved every "
            f"{duration(span)} never gets on",
            hints=["save more often: --checkpoint-minutes", "or on demand: leave --interruptions-per-hour out"],
            field="interruptions_per_hour",
        )
    factor = lengthening(one, span)
    mid = training.mid * factor
    low, high = (_lost_at(one, end, share, span) for end, share in ((training.low, ENDS[0]), (training.high, ENDS[1])))
    expected = one.per_second * mid
    why = (
        f"{expected:.2g} interruptions expected at {one.per_hour:g} an hour, each losing up to {duration(span)} "
        f"and {duration(one.restart_seconds)} to start again"
    )
    return Quantity(
        low=min(training.low + low, mid),
        mid=mid,
        high=max(training.high + high, mid),
        unit="s",
        basis="assumed",
        why=f"{why}; {training.why}",
    )


def _lost_at(one: Interruptions, work: float, share: float, span: float) -> float:
    import numpy as np

    random: Any = np.random.default_rng(0)
    return float(np.quantile(lost_seconds(one, np.full(DRAWS, work), random, span), share))
