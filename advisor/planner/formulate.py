"""The question put in numbers: what each job takes on each pool, which fit at all, and what would let the others in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import numpy as np

from advisor.catalog.constants import load_constants
from advisor.domain.fleet.fleet_plan import Unplaced
from advisor.domain.quantity import Quantity
from advisor.domain.units import HOUR, duration
from advisor.planner.files.jobs_file import FleetJob, Hours, RunningJob
from advisor.planner.fleet_machines import machines_of
from advisor.planner.job_checks import (
    check_budgets,
    check_places,
    check_windows,
    deadline_of,
    order_of,
    pool_called,
    pools_called,
)
from advisor.planner.job_prices import JobPrices, PricedTraining
from advisor.planner.plan_request import PlanRequest
from advisor.planner.solver.problem import Machines, Numbers, Places, Problem, tightened
from advisor.planner.solver.uncertainty import TimeSpread

WHOLE: Final = -1
"""The budget of all jobs together, among the indices of teams."""


@dataclass(slots=True)
class RunningOn:
    """A job that runs already: `spread` is of all its seconds, `elapsed` have passed, `end` is kept for it."""

    job: int
    pool: int
    machine: int
    begin: float
    elapsed: float
    spread: TimeSpread
    end: float
    beside: tuple[int, ...] = ()


@dataclass(slots=True)
class Formulated:
    """The problem, and what the answer needs to name its parts.

    `entry` is the job in the file of each job of the problem, `priced` by entry and pool, `due` the true deadlines.
    """

    problem: Problem
    jobs: Sequence[FleetJob]
    names: list[str]
    entry: list[int]
    priced: list[list[PricedTraining]]
    spreads: dict[tuple[int, int], TimeSpread]
    release: Numbers
    due: Numbers
    running: list[RunningOn]
    unplaced: list[Unplaced]
    teams: list[str]
    notes: list[str] = field(default_factory=list[str])


def formulate(request: PlanRequest, start: datetime, prices: JobPrices) -> Formulated:
    """Check the jobs against the fleet, price them, and sort out those that never fit.

    Raises:
        BadRequest: what is said contradicts itself, or names what is not there.
        BadFile: a price file cannot be read.
    """
    jobs, fleet = request.jobs.jobs, request.fleet
    order = order_of(request.jobs)
    check_windows(jobs, start, fleet.horizon)
    machines, notes = machines_of(fleet, start)
    check_places(request.jobs, machines)
    notes += check_budgets(request.jobs, fleet)
    release = np.array([_earliest(job, start) for job in jobs])
    due = np.array([_due(job, start, fleet.horizon) for job in jobs])
    priced = _priced(jobs, machines, prices, due - release, request.confidence)
    spreads = {
        (entry, pool): TimeSpread.from_quantity(_searched(jobs[entry], one.seconds))
        for entry, row in enumerate(priced)
        for pool, one in enumerate(row)
        if one.seconds is not None
    }
    cards = np.array([[one.cards for one in row] for row in priced], dtype=np.int64)
    kept, usd = _taken(spreads, machines, cards, request.confidence)
    running, machines = _running(request, start, machines, spreads, cards)
    before = _waits(jobs, running, request.jobs.done)
    shortest = kept.min(axis=1, initial=np.inf)
    shortest = np.where(np.isfinite(shortest), shortest, 0.0)
    window = tightened(release, due, shortest, before, order)
    unplaced = _never(jobs, machines, priced, kept, window, order, before)
    out = {job.name for job in jobs} & {one.job for one in unplaced}
    copies = [
        entry
        for entry, job in enumerate(jobs)
        for _ in range(job.repeats - sum(one.job == entry for one in running))
        if job.name not in out
    ]
    teams = sorted({job.team for job in jobs if job.team})
    of = np.array(copies, dtype=np.int64)
    by_entry: dict[int, list[int]] = {}
    for number, entry in enumerate(copies):
        by_entry.setdefault(entry, []).append(number)
    held, later = _held_by_running(running, before, len(jobs)), window[0].copy()
    for entry, end in held.items():
        later[entry] = max(later[entry], end)
    problem = Problem(
        machines=machines,
        kept=kept,
        usd=usd,
        kind=of,
        release=later[of] if len(of) else np.zeros(0),
        due=window[1][of] if len(of) else np.zeros(0),
        weight=np.array([jobs[entry].priority for entry in copies]),
        team=np.array([teams.index(jobs[e].team) if jobs[e].team else -2 for e in copies], dtype=np.int64),
        before=tuple(tuple(n for earlier in before[e] for n in by_entry.get(earlier, ())) for e in copies),
        budgets=_budgets(request, teams, running, machines),
        cards=cards if (cards > 1).any() else None,
    )
    names = _names(jobs, copies, running)
    undated = sum(not np.isfinite(due[entry]) for entry in copies)
    if undated:
        notes.append(f"{undated} jobs have no deadline: they go where they cost least, whenever that is (`horizon`)")
    return Formulated(
        problem, jobs, names, copies, priced, spreads, release, due, running, unplaced, teams, notes
    )  # fmt: skip


def _priced(
    jobs: Sequence[FleetJob], machines: Sequence[Machines], prices: JobPrices, room: Numbers, confidence: float
) -> list[list[PricedTraining]]:
    """By job and pool; hours that the user knows stand for themselves.

    Args:
        room: seconds between each job's earliest start and its deadline.
    """
    made: list[list[PricedTraining]] = []
    asked: list[tuple[Mapping[str, Any], str]] = []
    places: list[tuple[int, int, int]] = []
    for entry, job in enumerate(jobs):
        allowed = {number for place in job.pools for number in pools_called(place, machines)} or set(
            range(len(machines))
        )
        row: list[PricedTraining] = []
        for pool, one in enumerate(machines):
            hours, limit = _known_hours(job, pool, machines), one.limit
            numbers = [number for number in job.numbers_of_gpus if limit is None or number <= limit]
            row.append(PricedTraining(None))
            if pool not in allowed:
                row[-1] = PricedTraining(None, kind="cannot-run", reason=f"it may only run on {', '.join(job.pools)}")
            elif not numbers:
                few = f"it takes {job.gpus} GPUs at a time, and {one.name} has {limit}"
                row[-1] = PricedTraining(None, kind="does-not-fit", reason=few, would=(f"gpus: {limit}",))
            elif hours is not None:
                row[-1] = PricedTraining(_as_quantity(hours), cards=numbers[0])
            elif "model" not in job.question:
                reason = f"its hours on {one.gpu} are not given, nor a model"
                row[-1] = PricedTraining(None, kind="cannot-run", reason=reason)
            else:
                asked += [(_on_so_many(job, number), one.gpu) for number in numbers]
                places += [(entry, pool, number) for number in numbers]
        made.append(row)
    ways: dict[tuple[int, int], list[PricedTraining]] = {}
    for (entry, pool, number), found in zip(places, prices.ask(asked), strict=True):
        ways.setdefault((entry, pool), []).append(replace(found, cards=number))
    for (entry, pool), found in ways.items():
        made[entry][pool] = _chosen(jobs[entry], found, machines[pool], float(room[entry]), confidence)
    return made


def _on_so_many(job: FleetJob, number: int) -> Mapping[str, Any]:
    return job.question if number == 1 else {**job.question, "gpus": number}


def _chosen(
    job: FleetJob, ways: Sequence[PricedTraining], machines: Machines, room: float, confidence: float
) -> PricedTraining:
    """Of a training on 1, 2, 4 ... devices: what costs least and meets the deadline alone, else what ends first.

    It is settled before the plan, pool by pool: that a crowded fleet would be served better by another number is not
    looked for.
    """
    able: list[tuple[bool, float, float, PricedTraining]] = []
    for one in ways:
        if one.seconds is None:
            continue
        spread = TimeSpread.from_quantity(_searched(job, one.seconds))
        kept = spread.quantile(confidence) * machines.lengthening
        late = kept > room
        paid = spread.mid * one.cards
        able.append((late, kept if late else paid, kept, one))
    return min(able, key=lambda way: way[:3])[3] if able else ways[0]


def _known_hours(job: FleetJob, pool: int, machines: Sequence[Machines]) -> Hours | None:
    if not isinstance(job.hours, dict):
        return job.hours
    return next((hours for place, hours in job.hours.items() if pool in pools_called(place, machines)), None)


def _as_quantity(hours: Hours) -> Quantity:
    """Seconds of hours that the user gave; one number is known no better than identical runs repeat."""
    if isinstance(hours, tuple):
        low, mid, high = (end * HOUR for end in hours)
        return Quantity(low=low, mid=mid, high=high, unit="s", basis="assumed", why="hours given with the job")
    noise = load_constants("plan")["repeat_noise"].value
    return Quantity.around(hours * HOUR, noise, noise, "s", "assumed", "hours given with the job")


def _searched(job: FleetJob, training: Quantity) -> Quantity:
    """All trainings of a search, one after another; what one is mispriced by, the others are too."""
    return training if job.trials == 1 else training.times(job.trials, "s", f"{training.why}, {job.trials} trainings")


def _taken(
    spreads: Mapping[tuple[int, int], TimeSpread], machines: Sequence[Machines], cards: Places, confidence: float
) -> tuple[Numbers, Numbers]:
    """(seconds kept, USD of all its cards expected) by job and pool, infinite where it cannot run."""
    kept = np.full((len(cards), len(machines)), np.inf)
    usd = np.full((len(cards), len(machines)), np.inf)
    for (entry, pool), spread in spreads.items():
        kept[entry, pool] = spread.quantile(confidence) * machines[pool].lengthening
        hourly = machines[pool].usd_per_second * cards[entry, pool]
        usd[entry, pool] = spread.mid * machines[pool].lengthening * hourly
    return kept, usd


def _earliest(job: FleetJob, start: datetime) -> float:
    return 0.0 if job.earliest is None else max(0.0, job.earliest.seconds_from(start))


def _due(job: FleetJob, start: datetime, horizon: Any) -> float:
    said = deadline_of(job, start, horizon)
    return np.inf if said is None else said


def _running(
    request: PlanRequest,
    start: datetime,
    machines: tuple[Machines, ...],
    spreads: Mapping[tuple[int, int], TimeSpread],
    cards: Places,
) -> tuple[list[RunningOn], tuple[Machines, ...]]:
    """Running jobs on the first machines of their pools, which are busy until they end."""
    index = {job.name: number for number, job in enumerate(request.jobs.jobs)}
    found: list[RunningOn] = []
    busy: dict[int, list[float]] = {}
    for run in request.jobs.running:
        entry, pool = index[run.job], pool_called(run.pool, machines)
        begin = run.started.seconds_from(start)
        elapsed = max(0.0, -begin)
        spread = _spread_of_running(run, spreads.get((entry, pool)), elapsed)
        kept = _left(spread, elapsed, request.confidence) * machines[pool].lengthening
        end = machines[pool].finish(max(0.0, begin), kept)
        first, number = len(busy.setdefault(pool, [])), int(cards[entry, pool])
        beside = tuple(range(first + 1, first + number))
        found.append(RunningOn(entry, pool, first, begin, elapsed, spread, end, beside))
        busy[pool] += [end] * number
    return found, tuple(replace(one, busy=tuple(busy.get(number, ()))) for number, one in enumerate(machines))


def _spread_of_running(run: RunningJob, predicted: TimeSpread | None, elapsed: float) -> TimeSpread:
    """By its progress where that is known, else as predicted.

    Raises:
        BadRequest: neither is known.
    """
    from advisor.errors import BadRequest

    if run.progress is not None and elapsed > 0:
        noise = load_constants("plan")["repeat_noise"].value
        whole = elapsed / run.progress
        return TimeSpread.from_quantity(Quantity.around(whole, noise, noise, "s", "measured", "by its progress"))
    if predicted is None:
        raise BadRequest(
            f"{run.job!r} is said to run on {run.pool}, where by the estimate it cannot",
            hints=["to plan with it all the same, say how far it is: progress: 0.4"],
            job=run.job,
        )
    return predicted


def _left(spread: TimeSpread, elapsed: float, confidence: float) -> float:
    """Seconds that are enough with this probability for what is left of a run that has not ended yet."""
    from scipy.special import ndtr, ndtri

    passed = float(ndtr(spread.standing(elapsed))) if elapsed > 0 else 0.0
    level = float(ndtri(min(passed + (1 - passed) * confidence, 1 - 1e-9)))
    return max(0.0, float(spread.at(np.array(level))) - elapsed)


def _waits(jobs: Sequence[FleetJob], running: Sequence[RunningOn], done: Sequence[str]) -> list[tuple[int, ...]]:
    """Entries that each waits for; a running job waits for none."""
    index = {job.name: number for number, job in enumerate(jobs)}
    started = {one.job for one in running}
    return [
        () if entry in started else tuple(index[name] for name in job.after if name in index and name not in done)
        for entry, job in enumerate(jobs)
    ]


def _held_by_running(running: Sequence[RunningOn], before: Sequence[Sequence[int]], entries: int) -> dict[int, float]:
    """By entry: the seconds before which it cannot begin, since a job that it waits for still runs."""
    return {
        entry: max(one.end for one in running if one.job in before[entry])
        for entry in range(entries)
        if any(one.job in before[entry] for one in running)
    }


def _never(
    jobs: Sequence[FleetJob],
    machines: Sequence[Machines],
    priced: Sequence[Sequence[PricedTraining]],
    kept: Numbers,
    window: tuple[Numbers, Numbers],
    order: Sequence[int],
    before: Sequence[Sequence[int]],
) -> list[Unplaced]:
    """Jobs that fit on no machine of the fleet even if they were alone, each with the largest reason and what would."""
    found: dict[int, Unplaced] = {}
    for entry in order:
        job, row = jobs[entry], priced[entry]
        gone = [earlier for earlier in before[entry] if earlier in found]
        if gone:
            reason = f"it comes after {jobs[gone[0]].name!r}, which the plan leaves out"
            found[entry] = Unplaced(job=job.name, kind="after-unplaced", reason=reason)
            continue
        can = [pool for pool in range(len(machines)) if np.isfinite(kept[entry, pool])]
        if not can:
            small = [one for one in row if one.kind == "does-not-fit"] or [one for one in row if one.reason]
            first = small[0]
            found[entry] = Unplaced(job=job.name, kind=first.kind, reason=first.reason, would=first.would)
            continue
        ends = {pool: machines[pool].finish(float(window[0][entry]), float(kept[entry, pool])) for pool in can}
        soonest = min(ends, key=lambda pool: ends[pool])
        if ends[soonest] > window[1][entry] + 1e-6:
            found[entry] = _too_slow(job, machines[soonest], kept[entry, soonest], window, entry, ends[soonest])
    return [found[entry] for entry in sorted(found)]


def _too_slow(
    job: FleetJob, machines: Machines, seconds: float, window: tuple[Numbers, Numbers], entry: int, end: float
) -> Unplaced:
    has = float(window[1][entry] - window[0][entry])
    room = duration(has) if has > 0 else "no time"
    reason = f"needs {duration(seconds)} on {machines.name}, the fastest it can run on, and has {room}"
    would = [f"a deadline {end / HOUR:.1f} h after the plan's begin"]
    if job.trials > 1:
        would.append(f"fewer trials than {job.trials}")
    would.append("a faster GPU: --add-gpu NAME=1")
    return Unplaced(job=job.name, kind="too-slow", reason=reason, would=tuple(would))


def _budgets(
    request: PlanRequest, teams: Sequence[str], running: Sequence[RunningOn], machines: Sequence[Machines]
) -> dict[int, float]:
    """What is left of each budget after the running jobs have been paid."""
    jobs, left = request.jobs.jobs, dict[int, float]()
    for team, usd in request.fleet.budgets.items():
        if team in teams:
            left[teams.index(team)] = usd
    if request.fleet.budget_usd is not None:
        left[WHOLE] = request.fleet.budget_usd
    for one in running:
        owed = max(0.0, one.spread.mid - one.elapsed) * machines[one.pool].usd_per_second * (1 + len(one.beside))
        for key in (WHOLE, teams.index(jobs[one.job].team) if jobs[one.job].team else -2):
            if key in left:
                left[key] = max(0.0, left[key] - owed)
    return left


def _names(jobs: Sequence[FleetJob], copies: Sequence[int], running: Sequence[RunningOn]) -> list[str]:
    """Of each job of the problem; copies are numbered, after those that run."""
    count: dict[int, int] = {}
    for one in running:
        count[one.job] = count.get(one.job, 0) + 1
    names: list[str] = []
    for entry in copies:
        count[entry] = count.get(entry, 0) + 1
        names.append(jobs[entry].name if jobs[entry].repeats == 1 else f"{jobs[entry].name} #{count[entry]}")
    return names
