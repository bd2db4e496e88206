"""Whole jobs on whole machines, in time order: a list schedule by deadlines, for one pool or all together."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from advisor.planner.solver.problem import NOWHERE, SLACK_SECONDS, Places, Problem


@dataclass(frozen=True, slots=True)
class Slot:
    """Where and when one job runs; clock seconds after the begin."""

    pool: int
    machine: int
    begin: float
    end: float
    beside: tuple[int, ...] = ()
    """Further machines of a job that runs on several at a time."""


Heap = list[tuple[float, int]]
"""Machines that were used, by the seconds at which they are free again."""


def free_at(free: Heap, unused: int, cards: int) -> float:
    """When so many machines are free at a time, of those used and of `unused` others."""
    missing = cards - unused
    if missing <= 0:
        return 0.0
    return free[0][0] if missing == 1 else heapq.nsmallest(missing, free)[-1][0]


def taken(free: Heap, fresh: int, cards: int, now: float) -> tuple[tuple[int, ...], int]:
    """So many machines that are free by now, used ones first, and the number of the first that stays unused."""
    found: list[int] = []
    while len(found) < cards and free and free[0][0] <= now:
        found.append(heapq.heappop(free)[1])
    more = cards - len(found)
    return (*found, *range(fresh, fresh + more)), fresh + more


def late_jobs(problem: Problem, slots: Mapping[int, Slot]) -> list[int]:
    """Jobs that end after their deadline."""
    dues = problem.dues
    return [job for job, slot in slots.items() if slot.end > dues[job] + SLACK_SECONDS]


def pool_slots(problem: Problem, pool: int, jobs: Iterable[int]) -> dict[int, Slot]:
    """The jobs of one pool, none waiting for another: a free machine takes the ready job of the earliest deadline.

    Of equal deadlines the longest goes first. Jobs are not cut, machines stop at closing time and go on at opening.
    """
    if problem.cards is not None:
        return _wide_slots(problem, pool, jobs)
    machines, works, dues = problem.machines[pool], problem.works[pool], problem.dues
    always, opens_at = machines.calendar.always, machines.calendar.opens_at
    waiting = sorted([(problem.releases[job], job) for job in jobs])
    number = problem.machines_of(pool)
    fresh = len(machines.busy)
    free = [(end, machine) for machine, end in enumerate(machines.busy)][:number]
    heapq.heapify(free)
    ready: list[tuple[float, float, int]] = []
    slots: dict[int, Slot] = {}
    at, now, last = 0, 0.0, len(waiting)
    while at < last or ready:
        # a machine that was never used is free from the begin on; they are made as they are needed
        if free and free[0][0] > now and fresh >= number:
            now = free[0][0]
        if not ready and waiting[at][0] > now:
            now = waiting[at][0]
        while at < last and waiting[at][0] <= now:
            job = waiting[at][1]
            heapq.heappush(ready, (dues[job], -works[job], job))
            at += 1
        job = heapq.heappop(ready)[2]
        if free and free[0][0] <= now:
            machine = heapq.heappop(free)[1]
        else:
            machine, fresh = fresh, fresh + 1
        begin = now if always else float(opens_at(now))
        end = begin + works[job] if always else machines.finish(begin, works[job])
        slots[job] = Slot(pool, machine, begin, end)
        heapq.heappush(free, (end, machine))
    return slots


def _wide_slots(problem: Problem, pool: int, jobs: Iterable[int]) -> dict[int, Slot]:
    """As `pool_slots` where jobs take several machines: the next by deadline waits for all it takes; none passes it."""
    machines, works, widths = problem.machines[pool], problem.works[pool], problem.widths[pool]
    waiting = sorted([(problem.releases[job], job) for job in jobs], reverse=True)
    number = problem.machines_of(pool)
    fresh = len(machines.busy)
    free = [(end, machine) for machine, end in enumerate(machines.busy)][:number]
    heapq.heapify(free)
    ready: list[tuple[float, float, int]] = []
    slots: dict[int, Slot] = {}
    now = 0.0
    while waiting or ready:
        if not ready:
            now = max(now, waiting[-1][0])
        while waiting and waiting[-1][0] <= now:
            job = waiting.pop()[1]
            heapq.heappush(ready, (problem.dues[job], -works[job] * widths[job], job))
        job = ready[0][2]
        begin = max(now, free_at(free, number - fresh, widths[job]))
        if waiting and waiting[-1][0] < begin:
            # who is ready before it could begin may have an earlier deadline
            now = waiting[-1][0]
            continue
        heapq.heappop(ready)
        now = begin
        mine, fresh = taken(free, fresh, widths[job], now)
        begin = float(machines.calendar.opens_at(now))
        end = machines.finish(begin, works[job])
        slots[job] = Slot(pool, mine[0], begin, end, mine[1:])
        for machine in mine:
            heapq.heappush(free, (end, machine))
    return slots


def all_slots(problem: Problem, pools: Places) -> dict[int, Slot]:
    """Every placed job: by pool, or in one pass over all pools where jobs wait for others.

    Those that wait for a job that is left out, or that is nowhere, are left out too.
    """
    if problem.chained:
        return _chained(problem, pools)
    slots: dict[int, Slot] = {}
    for pool in range(len(problem.machines)):
        slots.update(pool_slots(problem, pool, np.flatnonzero(pools == pool).tolist()))
    return slots


def _chained(problem: Problem, pools: Places) -> dict[int, Slot]:
    """As `pool_slots`, of all pools at once: a job is ready when those before it have ended."""
    number = [problem.machines_of(pool) for pool in range(len(problem.machines))]
    free = [[(end, m) for m, end in enumerate(p.busy)][: number[k]] for k, p in enumerate(problem.machines)]
    fresh = [len(one) for one in free]
    for heap in free:
        heapq.heapify(heap)
    missing = [len(before) for before in problem.before]
    followers: dict[int, list[int]] = {}
    for job, before in enumerate(problem.before):
        for earlier in before:
            followers.setdefault(earlier, []).append(job)
    opened = list(problem.releases)
    events = [(opened[job], 0, job) for job in range(problem.jobs) if pools[job] != NOWHERE and not missing[job]]
    heapq.heapify(events)
    ready: list[list[tuple[float, float, int]]] = [[] for _ in problem.machines]
    slots: dict[int, Slot] = {}
    while events:
        now = events[0][0]
        touched: set[int] = set()
        while events and events[0][0] <= now:
            _, ended, what = heapq.heappop(events)
            if ended:
                touched.add(int(pools[what]) if ended == 1 else what)
                for job in followers.get(what, ()) if ended == 1 else ():
                    missing[job] -= 1
                    opened[job] = max(opened[job], now)
                    if not missing[job] and pools[job] != NOWHERE:
                        heapq.heappush(events, (opened[job], 0, job))
            else:
                pool = int(pools[what])
                key = (problem.dues[what], -problem.works[pool][what], what)
                heapq.heappush(ready[pool], key)
                touched.add(pool)
        for pool in touched:
            machines = problem.machines[pool]
            while ready[pool]:
                job = ready[pool][0][2]
                cards = problem.widths[pool][job]
                at = free_at(free[pool], number[pool] - fresh[pool], cards)
                if at > now:
                    # nobody's job ends when a running one leaves its machine: an event of the pool's own
                    heapq.heappush(events, (at, 2, pool))
                    break
                heapq.heappop(ready[pool])
                mine, fresh[pool] = taken(free[pool], fresh[pool], cards, now)
                begin = now if machines.calendar.always else float(machines.calendar.opens_at(now))
                end = machines.finish(begin, problem.works[pool][job])
                slots[job] = Slot(pool, mine[0], begin, end, mine[1:])
                for machine in mine:
                    heapq.heappush(free[pool], (end, machine))
                heapq.heappush(events, (end, 1, job))
    return slots
