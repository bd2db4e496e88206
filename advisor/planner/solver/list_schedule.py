"""A plan in one pass: jobs by deadline, each to the pool where it is in time and costs least, or ends first.

It is there at once, so that an interrupted search has a plan, and it is what a search is compared with.
"""

from __future__ import annotations

import heapq
from math import inf
from typing import Literal

import numpy as np

from advisor.planner.solver.placement import Slot, free_at, taken
from advisor.planner.solver.problem import NOWHERE, SLACK_SECONDS, Places, Problem

Rule = Literal["cheapest", "earliest"]


def list_schedule(problem: Problem, rule: Rule = "cheapest") -> tuple[Places, dict[int, Slot]]:
    """Pools and slots; a job that is in time nowhere, or that a budget does not pay, is left out.

    Args:
        rule: among the pools in time, the one that costs least, or the one where it ends first.
    """
    pools = np.full(problem.jobs, NOWHERE, dtype=np.int64)
    slots: dict[int, Slot] = {}
    free = [[(end, m) for m, end in enumerate(p.busy)] for p in problem.machines]
    fresh = [len(heap) for heap in free]
    for heap in free:
        heapq.heapify(heap)
    left = dict(problem.budgets)
    works, prices = problem.works, problem.usd.tolist()
    number = [problem.machines_of(pool) for pool in range(len(problem.machines))]
    for job in _by_deadline(problem):
        if any(earlier not in slots for earlier in problem.before[job]):
            continue
        ready = max([problem.releases[job], *(slots[earlier].end for earlier in problem.before[job])])
        kind, due, purses = int(problem.kind[job]), problem.dues[job] + SLACK_SECONDS, _purses(problem, job)
        best: tuple[float, float, int, float] | None = None
        for pool, machines in enumerate(problem.machines):
            work, usd = works[pool][job], prices[kind][pool]
            if work == inf or any(usd > left[team] + 1e-9 for team in purses):
                continue
            cards = problem.widths[pool][job]
            begin = max(ready, free_at(free[pool], number[pool] - fresh[pool], cards))
            if not machines.calendar.always:
                begin = float(machines.calendar.opens_at(begin))
            end = machines.finish(begin, work)
            if end <= due:
                first, second = (usd, end) if rule == "cheapest" else (end, usd)
                option = (first, second, pool, begin)
                best = option if best is None else min(best, option)
        if best is None:
            continue
        _, _, pool, begin = best
        mine, fresh[pool] = taken(free[pool], fresh[pool], problem.widths[pool][job], begin)
        end = problem.machines[pool].finish(begin, works[pool][job])
        for machine in mine:
            heapq.heappush(free[pool], (end, machine))
        pools[job], slots[job] = pool, Slot(pool, mine[0], begin, end, mine[1:])
        for team in purses:
            left[team] -= prices[kind][pool]
    return pools, slots


def _purses(problem: Problem, job: int) -> list[int]:
    return [team for team in problem.budgets if team < 0 or team == problem.team[job]]


def _by_deadline(problem: Problem) -> list[int]:
    """Jobs by deadline, the weightier first among equals, each after those it waits for."""
    waiting = [len(before) for before in problem.before]
    followers: dict[int, list[int]] = {}
    for job, before in enumerate(problem.before):
        for earlier in before:
            followers.setdefault(earlier, []).append(job)
    ready = [(float(problem.due[j]), -float(problem.weight[j]), j) for j in range(problem.jobs) if not waiting[j]]
    heapq.heapify(ready)
    order: list[int] = []
    while ready:
        job = heapq.heappop(ready)[2]
        order.append(job)
        for other in followers.get(job, ()):
            waiting[other] -= 1
            if not waiting[other]:
                heapq.heappush(ready, (float(problem.due[other]), -float(problem.weight[other]), other))
    return order
