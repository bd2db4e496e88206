"""From an assignment to a plan that holds: late jobs are moved or left out, left-out ones let in, and cost is saved.

Each step moves one job to another pool, or exchanges two, and is kept where every pool it touches still has all its
jobs in time. Without dependencies a step touches two pools alone; with them the whole plan is placed anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from advisor.planner.solver.placement import Slot, all_slots, late_jobs, pool_slots
from advisor.planner.solver.pool_loads import PoolLoads
from advisor.planner.solver.problem import NOWHERE, Places, Problem

EXCHANGES: Final = 12
"""Jobs of a pool that one job is exchanged with before another is tried: the cheapest exchanges first."""
SAVING_USD: Final = 1e-9
MANY_LATE: Final = 150
"""Late jobs beyond which all are taken out and let in again, instead of each being moved."""


class Search:
    """A plan that is in time at every moment after `repair`; `pools` says where each job runs."""

    def __init__(self, problem: Problem, pools: Places, until: float):
        self.problem = problem
        self.pools = pools.copy()
        self.until = until
        self.usd = problem.usd[problem.kind]
        self.alone = problem.alone
        self.slots: dict[int, Slot] = {}
        self.jobs: list[set[int]] = [set() for _ in problem.machines]
        for pool, held in enumerate(self.jobs):
            held.update(np.flatnonzero(self.pools == pool).tolist())
        self.slots = all_slots(problem, self.pools)
        self.late = [self._late_of(jobs) for jobs in self.jobs]
        self.loads = PoolLoads(problem)
        self.spent = {team: self._spent(team) for team in problem.budgets}

    @property
    def out_of_time(self) -> bool:
        return time.monotonic() > self.until

    def cost(self) -> float:
        placed = np.flatnonzero(self.pools != NOWHERE)
        return float(self.usd[placed, self.pools[placed]].sum())

    def left_out(self) -> float:
        return float(self.problem.weight[self.pools == NOWHERE].sum())

    def _spent(self, team: int) -> float:
        mine = np.flatnonzero((self.pools != NOWHERE) & ((self.problem.team == team) | (team < 0)))
        return float(self.usd[mine, self.pools[mine]].sum())

    def _pays(self, changes: list[tuple[int, int]]) -> bool:
        """Whether every budget holds after jobs went to other pools."""
        for team, most in self.problem.budgets.items():
            more = sum(
                self._price(job, pool) - self._price(job, int(self.pools[job]))
                for job, pool in changes
                if team < 0 or self.problem.team[job] == team
            )
            if more > SAVING_USD and self.spent[team] + more > most + SAVING_USD:
                return False
        return True

    def _price(self, job: int, pool: int) -> float:
        return 0.0 if pool == NOWHERE else float(self.usd[job, pool])

    def _try(self, changes: list[tuple[int, int]], *, may_be_late: int | None = None) -> bool:
        """Move jobs if all pools are then in time (of `may_be_late`: if fewer are late), else change nothing."""
        if not self._pays(changes):
            return False
        touched = {pool for job, to in changes for pool in (int(self.pools[job]), to) if pool != NOWHERE}
        new: dict[int, Slot] = {}
        if self.problem.chained:
            pools = self.pools.copy()
            for job, to in changes:
                pools[job] = to
            new = all_slots(self.problem, pools)
            lost = any(pools[job] != NOWHERE and job not in new for job in self.slots)
            before = len(late_jobs(self.problem, self.slots))
            if lost or len(late_jobs(self.problem, new)) > (max(0, before - 1) if may_be_late is not None else 0):
                return False
        else:
            moved = dict(changes)
            if not all(self._may_hold(job, to, changes) for job, to in changes):
                return False
            for pool in sorted(touched, key=lambda one: one == may_be_late):
                held = [job for job in self.jobs[pool] if moved.get(job, pool) == pool]
                held += [job for job, to in changes if to == pool and job not in self.jobs[pool]]
                slots = pool_slots(self.problem, pool, held)
                late = len(late_jobs(self.problem, slots))
                if late and (pool != may_be_late or late >= len(self.late[pool])):
                    return False
                new.update(slots)
        self._accept(changes, new)
        return True

    def _late_of(self, jobs: set[int]) -> set[int]:
        return set(late_jobs(self.problem, {job: self.slots[job] for job in jobs if job in self.slots}))

    def _may_hold(self, job: int, to: int, changes: list[tuple[int, int]]) -> bool:
        """False where machine time forbids it whatever the order; with one that leaves the same pool in exchange."""
        if to == NOWHERE:
            return True
        leaving = next((one for one, _ in changes if one != job and self.pools[one] == to), None)
        return self.loads.may_hold(to, self.jobs[to], job, leaving)

    def _accept(self, changes: list[tuple[int, int]], new: dict[int, Slot]) -> None:
        for team in self.problem.budgets:
            self.spent[team] += sum(
                self._price(job, to) - self._price(job, int(self.pools[job]))
                for job, to in changes
                if team < 0 or self.problem.team[job] == team
            )
        touched = {pool for job, to in changes for pool in (int(self.pools[job]), to) if pool != NOWHERE}
        for job, to in changes:
            if self.pools[job] != NOWHERE:
                self.jobs[int(self.pools[job])].discard(job)
            if to == NOWHERE:
                self.slots.pop(job, None)
            else:
                self.jobs[to].add(job)
            self.pools[job] = to
        if self.problem.chained:
            self.slots = new
            self.late = [self._late_of(jobs) for jobs in self.jobs]
            return
        self.slots.update(new)
        for pool in touched:
            self.late[pool] = self._late_of(self.jobs[pool])
            self.loads.forget(pool)

    def _cheapest_pools(self, job: int) -> Iterator[int]:
        """Other pools in which the job alone would be in time, by cost."""
        for pool in np.argsort(self.usd[job], kind="stable"):
            if self.alone[job, pool] and pool != self.pools[job]:
                yield int(pool)

    def repair(self) -> None:
        """Until none is late: jobs of a late pool go to where they cost least more, or are left out."""
        problem = self.problem
        waits = [job for job in range(problem.jobs) if self.pools[job] != NOWHERE and job not in self.slots]
        for job in waits:
            self._drop(job)
        while late := set[int]().union(*self.late):
            if len(late) > MANY_LATE and not problem.chained:
                # one by one would take too long; they are let in again where there is room
                for pool, jobs in enumerate(self.late):
                    if jobs:
                        self._leave(pool, set(jobs))
                continue
            job = min(late, key=lambda one: (problem.due[one], one))
            if self.out_of_time or not self._moved_away(job):
                self._give_up(job)
        self.trim_budgets()

    def _leave(self, pool: int, jobs: set[int]) -> None:
        """Leave out jobs of one pool that nothing waits for."""
        changes = [(job, NOWHERE) for job in sorted(jobs)]
        self._accept(changes, pool_slots(self.problem, pool, self.jobs[pool] - jobs))

    def _moved_away(self, job: int) -> bool:
        """Whether some job of the late one's pool could go elsewhere, so that fewer are late."""
        pool = int(self.pools[job])
        # with chains what holds a job up may run in any pool; the late job and those before it are tried
        near = self.jobs[pool] if not self.problem.chained else {job, *self.problem.before[job]}
        moves = [
            (self.usd[one, to] - self.usd[one, self.pools[one]], one, to)
            for one in near
            if self.problem.due[one] <= self.problem.due[job] or one == job
            for to in self._cheapest_pools(one)
        ]
        return any(
            self._try([(one, to)], may_be_late=pool)
            for _, one, to in sorted(moves)[: EXCHANGES * 20]
            if not self.out_of_time
        )

    def _give_up(self, job: int) -> None:
        """Leave out the job of the late one's pool that weighs least for the time it takes."""
        problem, pool = self.problem, int(self.pools[job])
        near = (
            [one for one in self.jobs[pool] if problem.due[one] <= problem.due[job]] if not problem.chained else [job]
        )
        kept = problem.area[problem.kind, pool] if not problem.chained else problem.weight
        self._drop(min(near, key=lambda one: (problem.weight[one] / max(float(kept[one]), 1e-9), one)))

    def _drop(self, job: int) -> None:
        """Leave out a job and, with chains, all that wait for it."""
        dropped = [job]
        for one in dropped:
            dropped += [
                other
                for other, before in enumerate(self.problem.before)
                if one in before and other not in dropped and self.pools[other] != NOWHERE
            ]
        pools = self.pools.copy()
        pools[dropped] = NOWHERE
        pool = int(self.pools[job])
        if not self.problem.chained:
            self._leave(pool, {job})
            return
        self._accept([(one, NOWHERE) for one in dropped], all_slots(self.problem, pools))

    def trim_budgets(self) -> None:
        """Leave out what a budget does not pay, the least weight for the money first."""
        for team, most in self.problem.budgets.items():
            while self.spent[team] > most + 1e-6:
                mine = [
                    job
                    for job in np.flatnonzero(self.pools != NOWHERE).tolist()
                    if (team < 0 or self.problem.team[job] == team) and self.usd[job, self.pools[job]] > 0
                ]
                if not mine:
                    break
                self._drop(min(mine, key=lambda one: self.problem.weight[one] / self.usd[one, self.pools[one]]))

    def let_in(self) -> None:
        """Place left-out jobs where there is room, the weightiest and then shortest first."""
        problem = self.problem
        shortest = np.where(self.alone, problem.kept[problem.kind], np.inf).min(axis=1, initial=np.inf)
        out = np.flatnonzero(self.pools == NOWHERE).tolist()
        for job in sorted(out, key=lambda one: (-problem.weight[one], shortest[one], one)):
            if any(self.pools[earlier] == NOWHERE for earlier in problem.before[job]):
                continue
            for pool in self._cheapest_pools(job):
                if self.out_of_time:
                    return
                if self._try([(job, pool)]):
                    break

    def lower_cost(self, on_round: Callable[[], None] = lambda: None) -> None:
        """Move or exchange jobs while that saves money, those with most to save first, until nothing does."""
        saved = True
        while saved and not self.out_of_time:
            saved = False
            placed = np.flatnonzero(self.pools != NOWHERE)
            least = np.where(self.alone, self.usd, np.inf).min(axis=1, initial=np.inf)
            could = self.usd[placed, self.pools[placed]] - least[placed]
            for job in placed[np.argsort(-could, kind="stable")][: int((could > SAVING_USD).sum())].tolist():
                if self.out_of_time:
                    break
                saved = self._cheaper(job) or saved
            on_round()

    def _cheaper(self, job: int) -> bool:
        here = int(self.pools[job])
        if here == NOWHERE:
            return False
        for pool in self._cheapest_pools(job):
            gain = self.usd[job, here] - self.usd[job, pool]
            if gain <= SAVING_USD:
                return False
            if self._try([(job, pool)]) or self._exchanged(job, here, pool, gain):
                return True
        return False

    def _exchanged(self, job: int, here: int, there: int, gain: float) -> bool:
        """Whether a job of the cheaper pool could take this one's place and something is saved."""
        others = np.array(sorted(self.jobs[there]), dtype=np.int64)
        if not len(others):
            return False
        more = np.where(self.alone[others, here], self.usd[others, here] - self.usd[others, there], np.inf)
        order = np.argsort(more, kind="stable")[:EXCHANGES]
        return any(
            self._try([(job, there), (int(others[i]), here)])
            for i in order
            if more[i] < gain - SAVING_USD and not self.out_of_time
        )
