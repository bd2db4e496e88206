"""Small and large questions drawn at random, and the best answer of small ones by trying all."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np

from advisor.planner.solver.opening_hours import Calendar, open_spans
from advisor.planner.solver.placement import Slot
from advisor.planner.solver.problem import NOWHERE, SLACK_SECONDS, Machines, Problem

HOUR = 3600.0


def drawn(
    seed: int, jobs: int, pools: int, *, load: float = 0.6, days: float = 0.0, chains: bool = False, calendars=False
) -> Problem:
    """Jobs of some hours on pools of unequal speed and price; `load` is how much of the machines they need.

    Until the last deadline in so many `days`, on as many machines as that takes; 0: one machine a pool, and the days
    that takes.
    """
    random = np.random.default_rng(seed)
    base = random.lognormal(np.log(4 * HOUR), 0.9, jobs)
    speed = np.sort(random.lognormal(0, 0.6, pools))
    price = speed**1.1 * random.uniform(0.8, 1.25, pools) / HOUR
    kept = base[:, None] / speed[None, :] * random.uniform(0.85, 1.2, (jobs, pools))
    kept[random.random((jobs, pools)) < 0.15] = np.inf
    kept[np.isinf(kept).all(axis=1), pools - 1] = 4 * HOUR
    usd = kept * price
    mean = np.where(np.isfinite(kept), kept, 0).sum(axis=1) / np.isfinite(kept).sum(axis=1)
    # so many machines that the jobs take `load` of them until the last deadline
    horizon = days * 24 * HOUR or max(float(kept[np.isfinite(kept)].max()) * 1.2, mean.sum() / (load * pools))
    number = max(1, round(float(mean.sum()) / (load * pools * horizon)))
    due = random.choice(np.linspace(0.3, 1, 8), jobs) * horizon
    release = np.round(np.where(random.random(jobs) < 0.3, random.uniform(0, 0.4, jobs) * due, 0) / HOUR) * HOUR
    closed = Calendar(spans=open_spans("18:00-08:00", ()), offset=12 * HOUR)
    machines = tuple(
        Machines(
            f"pool{pool}",
            f"gpu{pool}",
            number,
            float(price[pool]),
            calendar=closed if calendars and pool == 0 else Calendar(),
        )
        for pool in range(pools)
    )
    before = tuple((job - 1,) if chains and job % 3 == 2 else () for job in range(jobs))
    return Problem(
        machines=machines,
        kept=kept,
        usd=usd,
        kind=np.arange(jobs),
        release=release,
        due=due,
        weight=np.ones(jobs),
        team=np.full(jobs, -2, dtype=np.int64),
        before=before,
        budgets={},
    )


def copied(problem: Problem, copies: int, machines: int) -> Problem:
    """Each job so many times, on so many machines a pool."""
    kind = np.repeat(problem.kind, copies)
    return dataclasses.replace(
        problem,
        machines=tuple(dataclasses.replace(one, limit=machines) for one in problem.machines),
        kind=kind,
        release=problem.release[kind],
        due=problem.due[kind],
        weight=problem.weight[kind],
        team=problem.team[kind],
        before=tuple(() for _ in kind),
    )


def faults(problem: Problem, pools: np.ndarray, slots: dict[int, Slot]) -> list[str]:
    """What is wrong with a plan: late, early, too short, two at a time on a machine, before what it waits for."""
    said: list[str] = []
    by_machine: dict[tuple[int, int], list[tuple[float, float]]] = {}
    if set(slots) != set(np.flatnonzero(pools != NOWHERE).tolist()):
        said.append("slots and pools differ")
    for job, slot in slots.items():
        machines = problem.machines[slot.pool]
        work = float(problem.kept[problem.kind[job], slot.pool])
        if slot.pool != pools[job]:
            said.append(f"{job} is elsewhere")
        if slot.begin < problem.release[job] - 1e-6:
            said.append(f"{job} begins before it may")
        if abs(slot.begin - float(machines.calendar.opens_at(slot.begin))) > 1e-6:
            said.append(f"{job} begins while its machine is closed")
        if slot.end > problem.due[job] + 2 * SLACK_SECONDS:
            said.append(f"{job} is late")
        if abs(slot.end - machines.finish(slot.begin, work)) > 1e-6:
            said.append(f"{job} is not as long as it takes")
        mine = {slot.machine, *slot.beside}
        if max(mine) >= problem.machines_of(slot.pool):
            said.append(f"{job} is on a machine that is not there")
        if len(mine) != problem.widths[slot.pool][job] or len(slot.beside) != len(mine) - 1:
            said.append(f"{job} has not the machines it takes")
        for earlier in problem.before[job]:
            if earlier not in slots or slots[earlier].end > slot.begin + 1e-6:
                said.append(f"{job} does not wait")
        for machine in mine:
            by_machine.setdefault((slot.pool, machine), []).append((slot.begin, slot.end))
    for (pool, machine), spans in by_machine.items():
        busy = problem.machines[pool].busy
        ends = [busy[machine]] if machine < len(busy) else []
        for begin, end in sorted(spans):
            if ends and begin < ends[-1] - 1e-6:
                said.append(f"two jobs at a time on {pool}.{machine}")
            ends.append(end)
    return said


def best_of_all(problem: Problem) -> tuple[float, float]:
    """(weight left out, USD) of the best plan: every pool for every job, every order in each pool."""
    best = (math.inf, math.inf)
    options = [
        [NOWHERE, *(pool for pool in range(len(problem.machines)) if problem.alone[job, pool])]
        for job in range(problem.jobs)
    ]
    feasible: dict[tuple[int, tuple[int, ...]], bool] = {}
    for pools in itertools.product(*options):
        placed = [job for job in range(problem.jobs) if pools[job] != NOWHERE]
        left = float(sum(problem.weight[job] for job in range(problem.jobs) if pools[job] == NOWHERE))
        usd = float(sum(problem.usd[problem.kind[job], pools[job]] for job in placed))
        if (left, usd) >= best or not _pays(problem, placed, pools):
            continue
        for pool in range(len(problem.machines)):
            mine = tuple(job for job in placed if pools[job] == pool)
            if (pool, mine) not in feasible:
                feasible[pool, mine] = any(_in_time(problem, pool, order) for order in itertools.permutations(mine))
            if not feasible[pool, mine]:
                break
        else:
            best = (left, usd)
    return best


def _pays(problem: Problem, placed: list[int], pools: tuple[int, ...]) -> bool:
    return all(
        sum(
            float(problem.usd[problem.kind[job], pools[job]]) for job in placed if team < 0 or problem.team[job] == team
        )
        <= most + 1e-9
        for team, most in problem.budgets.items()
    )


def _in_time(problem: Problem, pool: int, order: tuple[int, ...]) -> bool:
    """Jobs in an order of begin, each on the machine that is free first: some such order is in time if any plan is."""
    machines = problem.machines[pool]
    free = [*machines.busy, *[0.0] * problem.machines_of(pool)][: problem.machines_of(pool)]
    for job in order:
        at = min(range(len(free)), key=free.__getitem__)
        begin = float(machines.calendar.opens_at(max(free[at], float(problem.release[job]))))
        free[at] = machines.finish(begin, float(problem.kept[problem.kind[job], pool]))
        if free[at] > problem.due[job] + SLACK_SECONDS:
            return False
    return True
