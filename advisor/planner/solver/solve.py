"""The search for a plan under a time limit: a bound, whole jobs, repair; what was found so far when interrupted."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from advisor.planner.solver.assignment import Assignment, Relaxation
from advisor.planner.solver.few_jobs import MOST_IN_ORDER, best_of_few
from advisor.planner.solver.list_schedule import list_schedule
from advisor.planner.solver.local_search import Search
from advisor.planner.solver.placement import Slot
from advisor.planner.solver.problem import NOWHERE, Places, Problem, groups_of

POLL_SECONDS: Final = 0.05
LAST_WORD_SECONDS: Final = 2.0
"""How long an interrupted search may take to hand over what it holds."""
EXACT: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Solved:
    """A plan that is in time throughout, by the times kept. Costs in USD, expected."""

    pools: Places
    slots: dict[int, Slot]
    usd: float
    left_out: float
    seconds: float = 0.0
    interrupted: bool = False
    out_of_time: bool = False
    bound_usd: float | None = None
    left_out_at_least: float | None = None

    @property
    def gap(self) -> float | None:
        """(cost - bound) / cost; None without a bound."""
        if self.bound_usd is None:
            return None
        return max(0.0, self.usd - self.bound_usd) / self.usd if self.usd > EXACT else 0.0

    def better_than(self, other: Solved | None) -> bool:
        if other is None:
            return True
        return (round(self.left_out, 6), self.usd) < (round(other.left_out, 6), other.usd)


@dataclass(slots=True)
class _Work:
    """What the searching thread shares with the one that waits for it."""

    best: Solved | None = None
    relaxed: Relaxation | None = None
    least_objective: float | None = None
    exact: bool = False
    assignment: Assignment | None = None
    search: Search | None = None
    error: BaseException | None = None
    stopped: bool = False
    done: threading.Event = field(default_factory=threading.Event)

    def keep(self, found: Solved) -> None:
        if found.better_than(self.best):
            self.best = found


def solve(problem: Problem, seconds: float) -> Solved:
    """The best plan found in so many seconds. Ctrl-C ends the search and gives the best so far, `interrupted`.

    HiGHS cannot be asked to stop, so the search has a thread of its own, which then ends by itself.
    """
    begun = time.monotonic()
    pools, slots = list_schedule(problem)
    work = _Work(best=_solved(problem, pools, slots))
    thread = threading.Thread(target=_search, args=(problem, begun, seconds, work), daemon=True, name="advisor-plan")
    interrupted = False
    try:
        thread.start()
        while not work.done.wait(POLL_SECONDS):
            pass
    except KeyboardInterrupt:
        interrupted, work.stopped = True, True
        if work.search is not None:
            work.search.until = 0.0
        work.done.wait(LAST_WORD_SECONDS)
    if work.error is not None:
        raise work.error
    assert work.best is not None
    return _bounded(problem, work, begun, seconds, interrupted)


def _search(problem: Problem, begun: float, seconds: float, work: _Work) -> None:
    try:
        _improve(problem, begun, seconds, work)
    except Exception as error:
        work.error = error
    finally:
        work.done.set()


def _improve(problem: Problem, begun: float, seconds: float, work: _Work) -> None:
    """Relax, make whole, repair, save; each stage's plan is kept where it is better."""
    until = begun + seconds
    if not problem.jobs:
        return
    few = best_of_few(problem)
    if few is not None:
        work.keep(_solved(problem, *few))
        work.exact = problem.jobs <= MOST_IN_ORDER and not problem.chained
        if work.exact:
            return
    work.assignment = assignment = Assignment(problem, groups_of(problem))
    work.relaxed = relaxed = assignment.relaxed(0.5 * seconds)
    work.least_objective = assignment.least_objective(0.1 * seconds)
    if few is not None:
        return
    starts: list[Places] = []
    if relaxed is not None and not work.stopped:
        shares = assignment.rounded(relaxed)
        if np.abs(relaxed.shares - np.round(relaxed.shares)).max(initial=0.0) > EXACT:
            whole = assignment.whole(relaxed, min(0.25 * seconds, until - time.monotonic()))
            shares = shares if whole is None else whole
        starts.append(assignment.by_job(shares))
    assert work.best is not None
    starts.append(work.best.pools)
    for number, start in enumerate(starts):
        if work.stopped or (number and time.monotonic() > until):
            return
        # the one-pass plan is improved only where the relaxation's led to none better
        if number and work.best.pools is not start:
            return
        work.search = search = Search(problem, start, until)

        def keep(search: Search = search) -> None:
            work.keep(_solved(problem, search.pools.copy(), dict(search.slots)))

        search.repair()
        search.let_in()
        keep()
        search.lower_cost(keep)
        search.let_in()
        keep()


def _solved(problem: Problem, pools: Places, slots: dict[int, Slot]) -> Solved:
    placed = np.flatnonzero(pools != NOWHERE)
    usd = float(problem.usd[problem.kind[placed], pools[placed]].sum())
    return Solved(pools, slots, usd, float(problem.weight[pools == NOWHERE].sum()))


def _bounded(problem: Problem, work: _Work, begun: float, seconds: float, interrupted: bool) -> Solved:
    """The best plan beside the relaxation's bound for plans that do as much."""
    best, relaxed = work.best, work.relaxed
    assert best is not None
    bound, at_least = (best.usd, best.left_out) if work.exact else (None, None)
    if relaxed is not None and work.assignment is not None:
        at_least = relaxed.left_out
        bound = relaxed.usd
        if best.left_out > relaxed.left_out + EXACT:
            as_much = None if interrupted else work.assignment.relaxed(max(5.0, 0.2 * seconds), best.left_out)
            bound = None if as_much is None else as_much.objective
        if work.least_objective is not None:
            whole = work.least_objective - work.assignment.penalty * best.left_out
            bound = whole if bound is None else max(bound, whole)
    took = time.monotonic() - begun
    return replace(
        best,
        seconds=took,
        interrupted=interrupted,
        out_of_time=took >= seconds,
        bound_usd=bound,
        left_out_at_least=at_least,
    )
