"""The best plan of a few jobs: every pool for every job, in every order, the cheap ones first."""

from __future__ import annotations

import heapq
import itertools
import math
from typing import Final

import numpy as np

from advisor.planner.solver.placement import Slot, all_slots, free_at, late_jobs, pool_slots, taken
from advisor.planner.solver.problem import NOWHERE, Places, Problem

MOST_ASSIGNMENTS: Final = 10_000
"""Ways to give the jobs to pools, or to leave them out, up to which all are tried: a second."""
MOST_IN_ORDER: Final = 5
"""Jobs of one pool whose orders are all tried; of more, the order by deadline alone."""


def best_of_few(problem: Problem) -> tuple[Places, dict[int, Slot]] | None:
    """Pools and slots of the best plan; None where there are too many jobs.

    Where jobs wait for others, their order is by deadline alone.
    """
    options = [[*np.flatnonzero(alone).tolist(), NOWHERE] for alone in problem.alone]
    ways = math.prod(len(one) for one in options)
    if ways > MOST_ASSIGNMENTS or not problem.jobs:
        return None
    known: dict[tuple[int, tuple[int, ...]], dict[int, Slot] | None] = {}
    for _, pools in sorted((_rank(problem, pools), pools) for pools in itertools.product(*options)):
        if not _paid(problem, pools):
            continue
        if problem.chained:
            slots = all_slots(problem, np.array(pools))
            if len(slots) == len(pools) - pools.count(NOWHERE) and not late_jobs(problem, slots):
                return np.array(pools, dtype=np.int64), slots
            continue
        slots: dict[int, Slot] = {}
        for pool in range(len(problem.machines)):
            mine = tuple(job for job, place in enumerate(pools) if place == pool)
            if (pool, mine) not in known:
                known[pool, mine] = _in_time(problem, pool, mine)
            placed = known[pool, mine]
            if placed is None:
                break
            slots |= placed
        else:
            return np.array(pools, dtype=np.int64), slots
    return None


def _rank(problem: Problem, pools: tuple[int, ...]) -> tuple[float, float]:
    """Weight left out, and cost."""
    left = sum(float(problem.weight[job]) for job, pool in enumerate(pools) if pool == NOWHERE)
    return left, sum(_usd(problem, job, pool) for job, pool in enumerate(pools))


def _usd(problem: Problem, job: int, pool: int) -> float:
    return 0.0 if pool == NOWHERE else float(problem.usd[problem.kind[job], pool])


def _paid(problem: Problem, pools: tuple[int, ...]) -> bool:
    return all(
        sum(_usd(problem, job, pool) for job, pool in enumerate(pools) if team < 0 or problem.team[job] == team)
        <= most + 1e-9
        for team, most in problem.budgets.items()
    )


def _in_time(problem: Problem, pool: int, jobs: tuple[int, ...]) -> dict[int, Slot] | None:
    """The jobs of one pool in an order in which all are in time; None where there is none."""
    slots = pool_slots(problem, pool, jobs)
    if not late_jobs(problem, slots):
        return slots
    if len(jobs) > MOST_IN_ORDER:
        return None
    for order in itertools.permutations(jobs):
        slots = _in_order(problem, pool, order)
        if not late_jobs(problem, slots):
            return slots
    return None


def _in_order(problem: Problem, pool: int, order: tuple[int, ...]) -> dict[int, Slot]:
    """Each job on the machines that are free first, which may wait for it."""
    machines, number = problem.machines[pool], problem.machines_of(pool)
    free = [(end, machine) for machine, end in enumerate([*machines.busy, *[0.0] * number][:number])]
    heapq.heapify(free)
    slots: dict[int, Slot] = {}
    for job in order:
        cards = problem.widths[pool][job]
        ready = max(free_at(free, 0, cards), problem.releases[job])
        begin = float(machines.calendar.opens_at(ready))
        end = machines.finish(begin, problem.works[pool][job])
        mine, _ = taken(free, number, cards, ready)
        for machine in mine:
            heapq.heappush(free, (end, machine))
        slots[job] = Slot(pool, mine[0], begin, end, mine[1:])
    return slots
