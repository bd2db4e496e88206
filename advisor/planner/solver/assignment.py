"""How many jobs of each kind go to which pool: a relaxation by nested deadlines, solved by HiGHS.

A pool has as many machine seconds until a deadline as its machines have open seconds until then, and all jobs due by
it must fit into them; so must, after a release, those that begin no earlier. Every plan obeys these, so the
relaxation's cost is a bound for every plan's. It has one column for a kind of job and a pool, and one row for a pool
and a deadline, where a time-indexed model has one for each hour. Its linear form gives the bound and, by reduced
costs, the columns that can be in a good plan; the integer form is solved over these alone.
"""

from __future__ import annotations

# scipy has no types: what its functions return is annotated
# pyright: reportUnknownMemberType=false
# scipy's sparse names only some of them
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse

from advisor.planner.solver.problem import NOWHERE, JobGroup, Numbers, Places, Problem

DEADLINES: Final = 60
"""Most deadlines of a pool that get a row; later ones are rounded up to the next of them, which relaxes."""
RELEASES: Final = 4
"""Most releases of a pool that get rows of their own beside the begin."""
REDUCED_SHARE: Final = 1.0
"""Reduced cost, in mean costs of a job, up to which a column stays in the integer form."""
FEW_COLUMNS: Final = 500
"""Columns up to which the integer form is solved over all of them, so that its bound holds: a second."""
GAP: Final = 0.002
"""Relative gap at which the integer solution is good enough: below what placing whole jobs costs."""


@dataclass(frozen=True, slots=True)
class Relaxation:
    """`objective` is a bound of cost and weighted left-out jobs; `left_out` its weight, `usd` its cost.

    `shares`: (groups, pools), jobs of each group on each pool, fractions allowed; `reduced`: reduced costs of these.
    """

    objective: float
    usd: float
    left_out: float
    shares: Numbers
    reduced: Numbers


class Assignment:
    """The relaxation of one problem; its rows are made once."""

    def __init__(self, problem: Problem, groups: Sequence[JobGroup]):
        self.problem, self.groups = problem, groups
        first = [int(group.members[0]) for group in groups]
        self.count = np.array([len(group.members) for group in groups], dtype=float)
        self.weight = problem.weight[first]
        self.fits = np.array([group.fits for group in groups])
        kinds = problem.kind[first]
        self.area, self.usd = problem.area[kinds], problem.usd[kinds]
        self.due, self.release = problem.due[first], problem.release[first]
        self.team = problem.team[first]
        self.column = np.full(self.fits.shape, -1, dtype=np.int64)
        self.column[self.fits] = np.arange(int(self.fits.sum()))
        self.penalty = _penalty(self.usd[self.fits], self.count, self.weight)
        self.rows, self.limits = self._rows()

    @property
    def columns(self) -> int:
        return int(self.fits.sum())

    def _rows(self) -> tuple[Any, Numbers]:
        """Upper-bounded rows over the columns, then one left-out column a group, then the running loads."""
        made: list[tuple[int, int, float]] = []
        limits: list[float] = []
        extra = self.columns + len(self.groups)
        problem = self.problem
        for pool, machines in enumerate(problem.machines):
            number = problem.machines_of(pool)
            if machines.limit is None or number >= problem.most_of(pool):
                continue
            mine = np.flatnonzero(self.fits[:, pool] & np.isfinite(self.due))
            releases = _thinned(np.unique(self.release[mine]), RELEASES + 1)
            for release in releases:
                since = mine[self.release[mine] >= release]
                dues = _rounded_up(np.unique(self.due[since]))
                earlier = -1
                for begin, end in zip([-np.inf, *dues[:-1]], dues, strict=True):
                    within = since[(self.due[since] > begin) & (self.due[since] <= end)]
                    row = len(limits)
                    made += [(row, int(self.column[g, pool]), float(self.area[g, pool])) for g in within]
                    made += [(row, extra, -1.0)] + ([(row, earlier, 1.0)] if earlier >= 0 else [])
                    limits.append(0.0)
                    made.append((len(limits), extra, 1.0))
                    free = machines.capacity(float(end), number)
                    if release > 0:
                        free = min(free, number * float(
                            machines.calendar.machine_time(end) - machines.calendar.machine_time(release)
                        ))  # fmt: skip
                    limits.append(free)
                    earlier, extra = extra, extra + 1
        for team, usd in problem.budgets.items():
            mine = np.full(len(self.groups), True) if team < 0 else self.team == team
            whose = self.fits & mine.reshape(-1, 1)
            made += [
                (len(limits), int(c), float(u)) for c, u in zip(self.column[whose], self.usd[whose], strict=True) if u
            ]
            limits.append(usd)
        self.width = extra
        rows, columns, values = zip(*made, strict=True) if made else ((), (), ())
        matrix = sparse.csr_array((values, (rows, columns)), shape=(len(limits), extra), dtype=float)
        return matrix, np.array(limits)

    def _placed(self) -> Any:
        """Rows that say: those placed and those left out are all of a group."""
        group, _ = np.nonzero(self.fits)
        number = len(self.groups)
        rows = np.concatenate([group, np.arange(number)])
        columns = np.concatenate([self.column[self.fits], self.columns + np.arange(number)])
        return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(number, self.width))

    def _costs(self) -> Numbers:
        costs = np.zeros(self.width)
        costs[: self.columns] = self.usd[self.fits]
        costs[self.columns : self.columns + len(self.groups)] = self.penalty * self.weight
        return costs

    def relaxed(self, seconds: float, most_left_out: float | None = None) -> Relaxation | None:
        """The linear relaxation; None where the time was not enough.

        Args:
            most_left_out: weight that may be left out; then cost alone is made small.
        """
        costs, limits = self._costs(), self.limits
        matrix = self.rows
        left = slice(self.columns, self.columns + len(self.groups))
        if most_left_out is not None:
            row = np.zeros(self.width)
            row[left] = self.weight
            costs[left] = 0.0
            both: list[Any] = [matrix, sparse.csr_array(row.reshape(1, -1))]
            matrix = cast("Any", sparse).vstack(both).tocsr()
            limits = np.append(limits, most_left_out)
        found: Any = optimize.linprog(
            costs,
            A_ub=matrix if len(limits) else None,
            b_ub=limits if len(limits) else None,
            A_eq=self._placed(),
            b_eq=self.count,
            bounds=(0, None),
            method="highs",
            options={"time_limit": max(1.0, seconds)},
        )
        if found.status != 0:
            return None
        shares, reduced = np.zeros(self.fits.shape), np.full(self.fits.shape, np.inf)
        shares[self.fits] = found.x[: self.columns]
        reduced[self.fits] = found.lower.marginals[: self.columns]
        usd = float(self.usd[self.fits] @ found.x[: self.columns])
        return Relaxation(float(found.fun), usd, float(self.weight @ found.x[left]), shares, reduced)

    def least_objective(self, seconds: float) -> float | None:
        """A bound of the objective over whole jobs, for problems of few columns; None where no time was left."""
        if self.columns > FEW_COLUMNS:
            return None
        bound: float | None = self._milp(np.full(self.width, np.inf), seconds).mip_dual_bound
        return bound

    def whole(self, relaxed: Relaxation, seconds: float) -> NDArray[np.int64] | None:
        """Whole jobs by group and pool, over the columns that reduced costs leave; None where no time was left."""
        settled = np.all(np.abs(relaxed.shares - np.round(relaxed.shares)) < 1e-6, axis=1, keepdims=True)
        settled &= np.abs(relaxed.shares.sum(axis=1, keepdims=True) - self.count.reshape(-1, 1)) < 1e-6
        near = relaxed.reduced <= REDUCED_SHARE * relaxed.usd / max(1.0, float(self.count.sum()))
        kept = self.fits & ((relaxed.shares > 1e-6) | (near & ~settled))
        upper = np.full(self.width, np.inf)
        upper[: self.columns][~kept[self.fits]] = 0.0
        found = self._milp(upper, seconds)
        if found.x is None:
            return None
        shares = np.zeros(self.fits.shape, dtype=np.int64)
        shares[self.fits] = np.round(found.x[: self.columns]).astype(np.int64)
        return shares

    def _milp(self, upper: Numbers, seconds: float) -> Any:
        """Whole jobs on the columns, each at most `upper`."""
        integral = np.zeros(self.width)
        integral[: self.columns] = 1
        # a checker reads the types of scipy's bounds from their defaults, numbers
        within: Any = optimize.LinearConstraint
        constraints = [within(self._placed(), self.count, self.count)]
        if len(self.limits):
            constraints.append(within(self.rows, -np.inf, self.limits))
        return optimize.milp(
            self._costs(),
            integrality=integral,
            bounds=(np.zeros(self.width), upper),
            constraints=constraints,
            options={"time_limit": max(1.0, seconds), "mip_rel_gap": GAP},
        )

    def rounded(self, relaxed: Relaxation) -> NDArray[np.int64]:
        """Whole jobs near the relaxation's shares, the largest remainders up; rows may be passed by a job."""
        shares = np.floor(relaxed.shares + 1e-9).astype(np.int64)
        rest = relaxed.shares - shares
        missing = np.round(np.minimum(relaxed.shares.sum(axis=1), self.count)).astype(np.int64) - shares.sum(axis=1)
        for group in np.flatnonzero(missing > 0):
            for pool in np.argsort(-rest[group])[: missing[group]]:
                shares[group, pool] += 1
        return shares

    def by_job(self, shares: NDArray[np.int64]) -> Places:
        """The pool of each job; NOWHERE for those left out."""
        pools = np.full(self.problem.jobs, NOWHERE, dtype=np.int64)
        for group, row in zip(self.groups, shares, strict=True):
            places = np.repeat(np.arange(len(row)), row)[: len(group.members)]
            pools[group.members[: len(places)]] = places
        return pools


def _penalty(usd: Numbers, count: Numbers, weight: Numbers) -> float:
    """USD a unit of weight that is left out: more than any cost that leaving one job out could save."""
    most = float(usd.max(initial=0.0))
    return (1.0 + 10.0 * most) / float(weight.min(initial=1.0))


def _thinned(values: Numbers, most: int) -> Numbers:
    """At most so many of the values, the first among them."""
    if len(values) <= most:
        return values
    return values[np.linspace(0, len(values) - 1, most).astype(int)]


def _rounded_up(values: Numbers) -> Numbers:
    """At most DEADLINES of the values, the last among them."""
    if len(values) <= DEADLINES:
        return values
    return values[np.linspace(0, len(values) - 1, DEADLINES + 1).astype(int)[1:]]
