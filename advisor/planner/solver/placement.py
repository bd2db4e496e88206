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


def late_jobs(problem: Problem, slots: Mapping[int, Slot]) -> list[int]:
    """Jobs that end after their deadline."""
    dues = problem.dues
    return [job for job, slot in slots.items() if slot.end > dues[job] + SLACK_SECONDS]


def pool_slots(problem: Problem, pool: int, jobs: Iterable[int]) -> dict[int, Slot]:
    """The jobs of one pool, none waiting for another: a free machine takes the ready job of the earliest deadline.

    Of equal deadlines the longest goes first. Jobs are not cut, machines stop at closing time and go on at opening.
    """
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
                if free[pool] and free[pool][0][0] <= now:
                    machine = heapq.heappop(free[pool])[1]
                elif fresh[pool] < number[pool]:
                    machine, fresh[pool] = fresh[pool], fresh[pool] + 1
                else:
                    if free[pool]:
                        # nobody's job ends when a running one leaves its machine: an event of the pool's own
                        heapq.heappush(events, (free[pool][0][0], 2, pool))
                    break
                job = heapq.heappop(ready[pool])[2]
                begin = now if machines.calendar.always else float(machines.calendar.opens_at(now))
                end = machines.finish(begin, problem.works[pool][job])
                slots[job] = Slot(pool, machine, begin, end)
                heapq.heappush(free[pool], (end, machine))
                heapq.heappush(events, (end, 1, job))
    return slots
