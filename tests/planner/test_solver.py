"""Plans against all plans where these can be tried, against a bound and simpler rules where they cannot."""

from __future__ import annotations

import dataclasses
import signal
import threading
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from advisor.planner.solver.assignment import Assignment
from advisor.planner.solver.list_schedule import list_schedule
from advisor.planner.solver.local_search import Search
from advisor.planner.solver.placement import all_slots, late_jobs
from advisor.planner.solver.problem import NOWHERE, groups_of
from advisor.planner.solver.solve import solve
from tests.planner.random_plans import best_of_all, copied, drawn, faults

QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@QUICK
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 3), st.sampled_from([0.5, 0.9, 1.4]))
def test_no_plan_is_better_than_the_best_and_no_bound_is_above_it(seed, jobs, pools, load):
    problem = drawn(seed, jobs, pools, load=load)
    found = solve(problem, 20)
    left, usd = best_of_all(problem)
    assert faults(problem, found.pools, found.slots) == []
    assert (found.left_out, found.usd) >= (left - 1e-9, usd - 1e-6) or found.left_out > left
    assert found.left_out_at_least is not None
    assert found.left_out_at_least <= left + 1e-6
    if found.left_out == left:
        assert found.bound_usd is not None
        assert found.bound_usd <= usd + 1e-6


def test_plans_of_few_jobs_are_the_best_there_is():
    for seed in range(40):
        problem = drawn(seed, 1 + seed % 5, 1 + seed % 3, load=(0.5, 0.8, 1.2)[seed % 3])
        found, (left, usd) = solve(problem, 20), best_of_all(problem)
        assert (found.left_out, found.usd) == (pytest.approx(left), pytest.approx(usd)), seed


def test_the_search_of_many_jobs_is_mostly_as_good_where_all_can_be_tried(monkeypatch):
    monkeypatch.setattr("advisor.planner.solver.solve.best_of_few", lambda problem: None)
    right = 0
    for seed in range(40):
        problem = drawn(seed, 1 + seed % 5, 1 + seed % 3, load=(0.5, 0.8, 1.2)[seed % 3])
        found, (left, usd) = solve(problem, 20), best_of_all(problem)
        right += found.left_out == left and found.usd <= usd * 1.0001 + 1e-6
    assert right >= 34


def test_a_budget_is_kept_and_what_it_pays_for_is_done():
    for seed in range(12):
        problem = drawn(seed, 5, 2)
        budget = 0.6 * best_of_all(problem)[1]
        problem = dataclasses.replace(problem, budgets={-1: budget})
        found, (left, _) = solve(problem, 20), best_of_all(problem)
        assert found.usd <= budget + 1e-6
        assert found.left_out == left


@pytest.mark.parametrize("load", [0.6, 0.85])
def test_a_plan_of_sixty_jobs_is_near_the_bound_and_beats_simple_rules(load):
    problem = drawn(3, 60, 4, load=load)
    found = solve(problem, 30)
    assert faults(problem, found.pools, found.slots) == []
    assert found.left_out == 0
    assert found.gap < 0.02
    for rule in ("cheapest", "earliest"):
        pools, slots = list_schedule(problem, rule)
        assert faults(problem, pools, slots) == []
        left = float(problem.weight[pools == NOWHERE].sum())
        placed = np.flatnonzero(pools != NOWHERE)
        usd = float(problem.usd[problem.kind[placed], pools[placed]].sum())
        assert (found.left_out, found.usd) <= (left, usd + 1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_jobs_that_wait_begin_when_those_before_have_ended(seed):
    problem = drawn(seed, 24, 3, load=0.4, chains=True, calendars=seed % 2 == 1)
    found = solve(problem, 20)
    assert faults(problem, found.pools, found.slots) == []
    assert len(found.slots) >= 20
    pools, slots = list_schedule(problem)
    assert faults(problem, pools, slots) == []


def test_machines_that_close_stop_at_closing_time_and_running_jobs_keep_theirs():
    problem = drawn(5, 20, 3, calendars=True)
    machines = [dataclasses.replace(one, busy=(7200.0,)) for one in problem.machines]
    problem = dataclasses.replace(problem, machines=tuple(machines))
    found = solve(problem, 20)
    assert faults(problem, found.pools, found.slots) == []


def test_copies_are_one_group_and_a_thousand_are_planned_at_once():
    problem = copied(drawn(2, 10, 4), 100, 300)
    assert len(groups_of(problem)) <= 10
    found = solve(problem, 30)
    assert faults(problem, found.pools, found.slots) == []
    assert found.gap < 0.02


def test_repair_leaves_none_late_wherever_it_begins():
    problem = drawn(9, 30, 3, load=0.9)
    search = Search(problem, np.zeros(30, dtype=np.int64) + 2, time.monotonic() + 20)
    search.repair()
    assert late_jobs(problem, search.slots) == []
    assert faults(problem, search.pools, search.slots) == []
    search.let_in()
    assert faults(problem, search.pools, search.slots) == []


def test_the_relaxation_is_below_what_whole_jobs_cost():
    problem = drawn(4, 40, 4, load=0.8)
    assignment = Assignment(problem, groups_of(problem))
    relaxed = assignment.relaxed(20)
    pools = assignment.by_job(assignment.whole(relaxed, 20))
    placed = np.flatnonzero(pools != NOWHERE)
    assert relaxed.usd <= float(problem.usd[problem.kind[placed], pools[placed]].sum()) + 1e-6
    assert set(all_slots(problem, pools)) == set(placed.tolist())


def test_an_interrupted_search_gives_its_best_plan_so_far(monkeypatch):
    problem = drawn(1, 60, 4)

    def endless(self, seconds, most_left_out=None):
        time.sleep(30)

    monkeypatch.setattr(Assignment, "relaxed", endless)
    timer = threading.Timer(0.5, lambda: signal.raise_signal(signal.SIGINT))
    timer.start()
    begun = time.monotonic()
    found = solve(problem, 60)
    assert time.monotonic() - begun < 10
    assert found.interrupted
    assert found.bound_usd is None
    assert faults(problem, found.pools, found.slots) == []
    assert len(found.slots) > 50


def test_a_fault_of_the_search_is_not_lost_in_its_thread(monkeypatch):
    monkeypatch.setattr(Assignment, "relaxed", lambda self, seconds: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        solve(drawn(1, 6, 2), 5)


def test_what_was_left_out_is_let_in_where_there_is_room():
    problem = drawn(11, 12, 3, load=0.1)
    search = Search(problem, np.full(problem.jobs, NOWHERE), time.monotonic() + 20)
    search.let_in()
    can = problem.alone.any(axis=1)
    assert can.sum() > 6
    assert (search.pools[can] != NOWHERE).mean() > 0.9
    assert (search.pools[~can] == NOWHERE).all()
