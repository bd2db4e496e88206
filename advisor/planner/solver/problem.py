"""The plan's question in numbers: jobs, pools of machines, and what each pair takes; seconds after the begin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from advisor.domain.hardware import Interruptions
from advisor.estimator.spending.interruptions import lengthening
from advisor.planner.solver.opening_hours import Calendar

Numbers = NDArray[np.float64]
Places = NDArray[np.int64]
NOWHERE = -1
"""The pool of a job that is left out."""


@dataclass(frozen=True, slots=True)
class Machines:
    """A pool: `limit` machines of one kind (None: as many as are paid), open by a calendar, paid by the second.

    `busy` are the seconds until which running jobs keep machines; the others are free from the begin on.
    """

    name: str
    gpu: str
    limit: int | None
    usd_per_second: float
    price: str = ""
    calendar: Calendar = field(default_factory=Calendar)
    restart_seconds: float = 0.0
    """Until a training goes on after the machines were closed."""
    interruptions: Interruptions | None = None
    busy: tuple[float, ...] = ()

    @property
    def lengthening(self) -> float:
        """Machine time by training time, expected."""
        return 1.0 if self.interruptions is None else lengthening(self.interruptions)

    def capacity(self, until: float, machines: int) -> float:
        """Machine seconds that `machines` of them have until a clock time, less what running jobs keep."""
        each = float(self.calendar.machine_time(until))
        kept = sum(min(float(self.calendar.machine_time(end)), each) for end in self.busy)
        return max(0.0, machines * each - kept)

    def finish(self, begin: float, work: float) -> float:
        """When work that begins at a clock time is done."""
        if self.calendar.always:
            return begin + work
        return float(self.calendar.finish(begin, work, self.restart_seconds))

    def finishes(self, begin: Numbers, work: Numbers) -> Numbers:
        """The same of many."""
        if self.calendar.always:
            return begin + work
        known = np.isfinite(work)
        return np.where(known, self.calendar.finish(begin, np.where(known, work, 0.0), self.restart_seconds), np.inf)


@dataclass(frozen=True)
class Problem:
    """`n` jobs of `m` kinds on `k` pools.

    Arrays by kind and pool, infinite where a kind cannot run: `kept` seconds (at the plan's confidence), `usd` expected
    of all machines that it takes, `cards` how many these are at a time (None: one each). By job: `kind`, `release` and
    `due` (clock seconds; infinite: no deadline), `weight`, `team` (-1: none), `before` (jobs that must be finished
    first). `budgets`: (jobs by team index, or -1 for all) -> USD.
    """

    machines: tuple[Machines, ...]
    kept: Numbers
    usd: Numbers
    kind: Places
    release: Numbers
    due: Numbers
    weight: Numbers
    team: Places
    before: tuple[tuple[int, ...], ...]
    budgets: dict[int, float]
    cards: Places | None = None

    @property
    def jobs(self) -> int:
        return len(self.kind)

    @property
    def chained(self) -> bool:
        return any(self.before)

    def machines_of(self, pool: int) -> int:
        """How many machines a pool may use at most: no more than all jobs at once would take."""
        limit, most = self.machines[pool].limit, self.most_of(pool)
        return most if limit is None else min(limit, most)

    def most_of(self, pool: int) -> int:
        """What all jobs would take of a pool if they ran at once."""
        jobs = self.jobs if self.cards is None else sum(self.widths[pool])
        return jobs + len(self.machines[pool].busy)

    @cached_property
    def widths(self) -> list[list[int]]:
        """Cards that a job takes at a time, by pool and job."""
        if self.cards is None:
            return [[1] * self.jobs for _ in self.machines]
        return self.cards[self.kind].T.tolist()

    @cached_property
    def area(self) -> Numbers:
        """Machine seconds of all cards, by kind and pool."""
        return self.kept if self.cards is None else self.kept * self.cards

    @cached_property
    def alone(self) -> NDArray[np.bool_]:
        """(jobs, pools): whether a job would be in time were it alone in the pool."""
        ends = [
            machines.finishes(self.release, self.kept[self.kind, pool]) for pool, machines in enumerate(self.machines)
        ]
        latest = (self.due + SLACK_SECONDS).reshape(-1, 1)
        return np.isfinite(self.kept[self.kind]) & (np.stack(ends, axis=1) <= latest)

    @cached_property
    def releases(self) -> list[float]:
        """`release` as Python's numbers, which loops read several times as fast."""
        return self.release.tolist()

    @cached_property
    def dues(self) -> list[float]:
        """`due` as Python's numbers."""
        return self.due.tolist()

    @cached_property
    def works(self) -> list[list[float]]:
        """`kept` by pool and job, as Python's numbers."""
        return self.kept[self.kind].T.tolist()


SLACK_SECONDS = 1e-6
"""Seconds by which an end may pass a deadline and be in time: rounding."""


@dataclass(frozen=True, slots=True)
class JobGroup:
    """Jobs that are the same to the solver: of one kind, with one window, weight and team."""

    members: Places
    fits: NDArray[np.bool_]
    """By pool: in time if alone."""


def groups_of(problem: Problem) -> list[JobGroup]:
    """Jobs gathered; ten thousand of a hundred kinds are a hundred groups."""
    keys = np.stack([problem.kind, problem.release, problem.due, problem.weight, problem.team], axis=1)
    _, first, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(group.ravel(), kind="stable")
    members = np.split(order, np.cumsum(np.bincount(group.ravel()))[:-1])
    return [JobGroup(mine, problem.alone[at]) for mine, at in zip(members, first, strict=True)]


def tightened(
    release: Numbers, due: Numbers, shortest: Numbers, before: Sequence[Sequence[int]], order: Sequence[int]
) -> tuple[Numbers, Numbers]:
    """Windows that dependencies leave: none begins before those it waits for could end, nor ends too late for others.

    Args:
        shortest: least seconds of each job, on any pool.
        order: jobs, each after those it waits for.
    """
    release, due = release.copy(), due.copy()
    for job in order:
        for earlier in before[job]:
            release[job] = max(release[job], release[earlier] + shortest[earlier])
    for job in reversed(order):
        for earlier in before[job]:
            due[earlier] = min(due[earlier], due[job] - shortest[job])
    return release, due
