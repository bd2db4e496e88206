"""Whether a pool could hold one more job at all, before it is placed: machine seconds left until each deadline."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from advisor.planner.solver.problem import Numbers, Problem


class PoolLoads:
    """The machine seconds that the jobs of each pool leave free; a pool is counted anew after its jobs changed."""

    def __init__(self, problem: Problem):
        self._problem = problem
        self._dues = np.unique(problem.due[np.isfinite(problem.due)])
        self._capacity = [
            np.array([machines.capacity(float(due), problem.machines_of(pool)) for due in self._dues])
            for pool, machines in enumerate(problem.machines)
        ]
        self._free: dict[int, Numbers] = {}

    def forget(self, pool: int) -> None:
        """The jobs of a pool changed."""
        self._free.pop(pool, None)

    def may_hold(self, pool: int, jobs: Iterable[int], job: int, instead_of: int | None = None) -> bool:
        """False where a job cannot be in time in a pool that holds `jobs`, whatever their order.

        Args:
            instead_of: one of them that leaves.
        """
        problem = self._problem
        due = float(problem.due[job])
        if not np.isfinite(due):
            return True
        if pool not in self._free:
            self._free[pool] = self._counted(pool, jobs)
        gained = 0.0 if instead_of is None else float(problem.area[problem.kind[instead_of], pool])
        free = float(self._free[pool][int(np.searchsorted(self._dues, due))])
        return float(problem.area[problem.kind[job], pool]) <= free + gained + 1.0

    def _counted(self, pool: int, jobs: Iterable[int]) -> Numbers:
        """Least free seconds at each deadline and all later ones."""
        held = np.fromiter(jobs, dtype=np.int64)
        held = held[np.isfinite(self._problem.due[held])]
        load = np.zeros(len(self._dues))
        at = np.searchsorted(self._dues, self._problem.due[held])
        np.add.at(load, at, self._problem.area[self._problem.kind[held], pool])
        free = self._capacity[pool] - np.cumsum(load)
        return np.minimum.accumulate(free[::-1])[::-1]
