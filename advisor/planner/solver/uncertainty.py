"""What a plan's times and costs may turn out to be: draws of all jobs at once, with what they have in common.

An estimate's error is mostly not a job's own: a GPU that is slower than predicted is so for every job, and a model's
step that is mispriced is so in each of its trainings. Each draw has one error for each kind of GPU, one for each
model on it and one for each job; their shares are catalogued (constants/plan.json). A job's time is log-normal to
either side of its middle, with the 5th and 95th of a hundred at the ends of its interval. Jobs keep their machine
and their order on it, and those that wait for others begin when these have ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from advisor.catalog.constants import load_constants
from advisor.domain.hardware import Interruptions
from advisor.domain.quantity import Quantity
from advisor.estimator.spending.interruptions import lost_seconds
from advisor.planner.solver.problem import Machines, Numbers

Z95: Final = 1.6448536269514722
"""Standard deviations from the middle of a normal law to its 95th per cent."""


@dataclass(frozen=True, slots=True)
class TimeSpread:
    """A time's middle in seconds, and the log deviations below and above it."""

    mid: float
    below: float
    above: float

    @classmethod
    def from_quantity(cls, seconds: Quantity) -> TimeSpread:
        """Of an interval that holds nine in ten."""
        low = max(seconds.low, 1e-9 * seconds.mid)
        return cls(seconds.mid, float(np.log(seconds.mid / low)) / Z95, float(np.log(seconds.high / seconds.mid)) / Z95)

    def at(self, errors: Numbers) -> Numbers:
        """Seconds of standard normal errors."""
        return self.mid * np.exp(errors * np.where(errors < 0, self.below, self.above))

    def quantile(self, share: float) -> float:
        """Seconds that are enough with this probability."""
        from scipy.special import ndtri

        return float(self.at(np.array(ndtri(share))))

    def standing(self, seconds: float) -> float:
        """How many deviations a time lies from the middle; 0 where there is no doubt."""
        distance = float(np.log(max(seconds, 1e-9) / self.mid))
        deviation = self.below if distance < 0 else self.above
        return distance / deviation if deviation > 0 else (np.inf if distance > 0 else -np.inf)


@dataclass(frozen=True, slots=True)
class DrawnRun:
    """One job as it is drawn: where, since when, how long; `model` names what shares its error on that GPU.

    `elapsed` are seconds that a running job has run, with `begin` before the plan's.
    """

    pool: int
    machine: int
    begin: float
    release: float
    due: float
    spread: TimeSpread
    model: str
    before: tuple[int, ...] = ()
    elapsed: float = 0.0
    team: int = -1
    beside: tuple[int, ...] = ()
    """Further machines that it keeps as long."""


@dataclass(slots=True)
class Outlook:
    """Draws summed up. By job: `finish` and `usd` and `seconds` as (low, mid, high), `chance` (None: no deadline)."""

    finish: dict[int, Numbers] = field(default_factory=dict[int, Numbers])
    seconds: dict[int, Numbers] = field(default_factory=dict[int, Numbers])
    usd: dict[int, Numbers] = field(default_factory=dict[int, Numbers])
    chance: dict[int, float] = field(default_factory=dict[int, float])
    total_usd: Numbers = field(default_factory=lambda: np.zeros(1))
    team_usd: dict[int, Numbers] = field(default_factory=dict[int, Numbers])
    all_in_time: float | None = None
    expected_late: float = 0.0


ENDS: Final = (5.0, 50.0, 95.0)


def outlook(machines: Sequence[Machines], runs: Mapping[int, DrawnRun], draws: int, seed: int) -> Outlook:
    """Draw every run `draws` times.

    Args:
        runs: by job; those on one machine go in the order of their planned begin.
    """
    made, errors = Outlook(total_usd=np.zeros(draws)), _Errors(draws, seed)
    free: dict[tuple[int, int], Numbers] = {}
    needed = {earlier for run in runs.values() for earlier in run.before}
    ends: dict[int, Numbers] = {}
    in_time, dated = np.ones(draws, dtype=bool), False
    for job, run in sorted(runs.items(), key=lambda item: (item[1].begin, len(item[1].before) > 0, item[0])):
        pool = machines[run.pool]
        places = [(run.pool, machine) for machine in (run.machine, *run.beside)]
        begin = np.full(1, max(run.release, 0.0))
        for place in places:
            begin = np.maximum(begin, free.get(place, 0.0))
        for earlier in run.before:
            if earlier in ends:
                begin = np.maximum(begin, ends[earlier])
        begin = np.asarray(pool.calendar.opens_at(begin)) + np.zeros(draws)
        work = errors.times(pool, run) + np.zeros(draws)
        if pool.interruptions is not None:
            work = errors.interrupted(pool.interruptions, work)
        end = pool.finishes(begin, work)
        free.update(dict.fromkeys(places, end))
        if job in needed:
            ends[job] = end
        usd = work * pool.usd_per_second * len(places)
        made.finish[job], made.seconds[job] = np.percentile(end, ENDS), np.percentile(work + run.elapsed, ENDS)
        made.usd[job] = np.percentile(usd, ENDS)
        made.total_usd += usd
        made.team_usd[run.team] = made.team_usd.get(run.team, np.zeros(draws)) + usd
        if np.isfinite(run.due):
            good = end <= run.due
            in_time, dated = in_time & good, True
            made.chance[job] = float(good.mean())
            made.expected_late += 1.0 - made.chance[job]
    made.all_in_time = float(in_time.mean()) if dated else None
    return made


class _Errors:
    """The draws of what jobs have in common, made when first asked for, and of each job's own."""

    def __init__(self, draws: int, seed: int):
        self._random = np.random.default_rng(seed)
        self._draws = draws
        self._common: dict[tuple[str, ...], Numbers] = {}
        constants = load_constants("plan")
        by_gpu = constants["error_shared_by_gpu"].value
        by_model = constants["error_shared_by_gpu_and_model"].value
        self._scales = np.sqrt([by_gpu, by_model - by_gpu, 1.0 - by_model])

    def _shared(self, *cause: str) -> Numbers:
        if cause not in self._common:
            self._common[cause] = self._random.standard_normal(self._draws)
        return self._common[cause]

    def times(self, pool: Machines, run: DrawnRun) -> Numbers:
        """Training seconds that a run still takes."""
        own = self._random.standard_normal(self._draws)
        parts = (self._shared(pool.gpu), self._shared(pool.gpu, run.model), own)
        error = sum((scale * part for scale, part in zip(self._scales, parts, strict=True)), np.zeros(self._draws))
        if run.elapsed <= 0:
            return run.spread.at(error)
        # a running job takes longer than it has taken: errors above that, in the order of what was drawn
        from scipy.special import ndtr, ndtri

        passed = float(ndtr(run.spread.standing(run.elapsed)))
        later = passed + (1 - passed) * ndtr(error)
        return np.maximum(run.spread.at(ndtri(np.minimum(later, 1 - 1e-9))) - run.elapsed, 0.0)

    def interrupted(self, interruptions: Interruptions, work: Numbers) -> Numbers:
        """Machine seconds with interruptions."""
        return work + lost_seconds(interruptions, work, self._random)
