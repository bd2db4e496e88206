"""Jobs on several GPUs at a time: the schedule counts every card, and small plans are the best of all there are."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest

import advisor
from advisor.domain.quantity import Quantity
from advisor.errors import BadRequest, DoesNotFit
from advisor.planner.job_prices import PricedTraining
from advisor.planner.solver.list_schedule import list_schedule
from advisor.planner.solver.placement import all_slots
from advisor.planner.solver.problem import NOWHERE, Machines, Problem
from advisor.planner.solver.solve import solve
from tests.planner.random_plans import drawn, faults

HOUR = 3600.0


def small(seed: int) -> Problem:
    """Up to four jobs of whole hours on one to three cards at a time of two small pools."""
    random = np.random.default_rng(seed)
    jobs, limits = int(random.integers(2, 5)), random.integers(2, 4, 2)
    hours = random.integers(1, 4, (jobs, 2))
    cards = np.minimum(random.integers(1, 4, (jobs, 2)), limits)
    release = random.integers(0, 3, jobs)
    due = np.minimum(release + hours.min(axis=1) + random.integers(0, 4, jobs), 7)
    price = random.uniform(0.5, 2.0, 2)
    return Problem(
        machines=tuple(Machines(f"p{k}", f"g{k}", int(limits[k]), float(price[k]) / HOUR) for k in range(2)),
        kept=hours * HOUR,
        usd=hours * cards * price,
        kind=np.arange(jobs),
        release=release * HOUR,
        due=due * HOUR,
        weight=np.ones(jobs),
        team=np.full(jobs, -2, dtype=np.int64),
        before=tuple(() for _ in range(jobs)),
        budgets={},
        cards=cards.astype(np.int64),
    )


def best_by_the_hour(problem: Problem) -> tuple[float, float]:
    """(left out, USD) of the best plan, every start of every job tried and cards counted hour by hour."""
    best = (math.inf, math.inf)
    options: list[list[tuple[int, int, int]]] = []
    for job in range(problem.jobs):
        mine = [(NOWHERE, 0, 0)]
        for pool in range(len(problem.machines)):
            took = round(problem.kept[job, pool] / HOUR)
            first, last = round(problem.release[job] / HOUR), round(problem.due[job] / HOUR) - took
            mine += [(pool, start, start + took) for start in range(first, last + 1)]
        options.append(mine)
    for plan in itertools.product(*options):
        left = float(sum(pool == NOWHERE for pool, _, _ in plan))
        usd = sum(float(problem.usd[job, pool]) for job, (pool, _, _) in enumerate(plan) if pool != NOWHERE)
        if (left, usd) >= best:
            continue
        used = np.zeros((len(problem.machines), 10), dtype=np.int64)
        for job, (pool, start, end) in enumerate(plan):
            if pool != NOWHERE:
                used[pool, start:end] += problem.cards[job, pool]
        if all((used[pool] <= one.limit).all() for pool, one in enumerate(problem.machines)):
            best = (left, usd)
    return best


def test_small_plans_are_the_best_of_all_with_every_card_counted_by_the_hour():
    for seed in range(14):
        problem = small(seed)
        found = solve(problem, 20)
        left, usd = best_by_the_hour(problem)
        assert faults(problem, found.pools, found.slots) == [], seed
        assert (found.left_out, found.usd) == (pytest.approx(left), pytest.approx(usd)), seed
        assert found.bound_usd is None or found.bound_usd <= found.usd + 1e-6


@pytest.mark.parametrize("chains", [False, True])
def test_larger_plans_and_the_simple_rule_keep_every_card_to_one_job_at_a_time(chains):
    plain = drawn(7, 40, 3, load=0.5, chains=chains)
    random = np.random.default_rng(7)
    cards = random.choice([1, 1, 2, 4], plain.kept.shape)
    machines = tuple(dataclasses.replace(one, limit=4 + one.limit, busy=(7200.0,)) for one in plain.machines)
    problem = dataclasses.replace(plain, machines=machines, cards=cards, usd=plain.usd * cards)
    for pools, slots in (list_schedule(problem), ((found := solve(problem, 5)).pools, found.slots)):
        assert faults(problem, pools, slots) == []
    anywhere = np.arange(40) % 3
    can = np.isfinite(problem.kept[np.arange(40), anywhere])
    placed = all_slots(problem, np.where(can, anywhere, NOWHERE))
    late = dataclasses.replace(problem, due=np.full(40, np.inf))
    assert faults(late, np.where([job in placed for job in range(40)], anywhere, NOWHERE), placed) == []


def test_a_problem_of_single_cards_is_the_same_with_cards_said():
    plain = drawn(3, 30, 3, load=0.8)
    said = dataclasses.replace(plain, cards=np.ones(plain.kept.shape, dtype=np.int64))
    one, other = solve(plain, 20), solve(said, 20)
    assert (one.left_out, one.usd) == (pytest.approx(other.left_out), pytest.approx(other.usd))


FLEET = [{"gpu": "L4", "kind": "owned", "count": 2, "usd_per_hour": 1.0}]
START = {"start": "2026-12-01 00:00", "time_limit": 5.0, "draws": 50}


def test_two_jobs_that_take_both_cards_run_one_after_the_other_and_pay_for_both():
    jobs = [{"name": name, "hours": 2, "gpus": 2, "deadline": "8 h"} for name in "ab"]
    found = advisor.plan([*jobs, {"name": "c", "hours": 1, "deadline": "8 h"}], FLEET, **START)
    wide = sorted((one for one in found.placements if one.job != "c"), key=lambda one: one.start)
    assert [set(one.devices) for one in wide] == [{0, 1}, {0, 1}]
    assert wide[0].end <= wide[1].start
    assert "2 x 1.00 USD/h" in wide[0].usd.why
    assert wide[0].usd.mid == pytest.approx(4, rel=0.1)
    (pool,) = found.pools
    assert pool.devices == 2
    assert pool.hours == pytest.approx(9, rel=0.1)
    assert wide[0].place.startswith("L4-owned ")


def test_a_running_job_keeps_all_its_cards():
    jobs = [{"name": "old", "hours": 4, "gpus": 2}, {"name": "new", "hours": 1, "deadline": "12 h"}]
    running = [{"job": "old", "pool": "L4-owned", "started": "2026-11-30 23:00"}]
    found = advisor.plan({"jobs": jobs, "running": running}, FLEET, **START)
    old, new = (next(one for one in found.placements if one.job == name) for name in ("old", "new"))
    assert len(old.devices) == 2
    assert new.start >= old.end


def test_more_cards_than_a_pool_has_are_refused_with_their_number():
    with pytest.raises(DoesNotFit) as refused:
        advisor.plan([{"name": "a", "hours": 2, "gpus": 4}], FLEET, **START)
    assert "takes 4 GPUs at a time, and L4-owned has 2" in refused.value.message


def by_cards(question, gpu):
    """8 hours on one card, 5 on two, 3 on four: the more, the dearer."""
    del gpu
    seconds = {1: 8.0, 2: 5.0, 4: 3.0}[int(question.get("gpus", 1))] * HOUR
    return PricedTraining(Quantity.around(seconds, 0.01, 0.01, "s", "modelled", "told"))


@pytest.mark.parametrize(("deadline", "cards"), [("20 h", 1), ("6 h", 2), ("4 h", 4), ("", 1)])
def test_of_several_numbers_the_cheapest_in_time_is_taken(deadline, cards):
    job = {"name": "a", "model": "Qwen/Qwen2.5-7B", "samples": 100, "max_gpus": 4}
    job |= {"deadline": deadline} if deadline else {}
    fleet = [{"gpu": "L4", "kind": "owned", "count": 4, "usd_per_hour": 1.0}]
    found = advisor.plan([job], fleet, prices=by_cards, **START)
    assert len(found.placements[0].devices) == cards


def test_what_contradicts_itself_is_refused():
    job = {"name": "a", "model": "Qwen/Qwen2.5-7B", "samples": 100, "max_gpus": 4}
    for more, says in (
        ({"gpus": 2}, "one of them"),
        ({"batch_size": 2, "method": "lora"}, "batch_size of one that is given"),
        ({"hours": 2}, "known number of gpus"),
    ):
        with pytest.raises(BadRequest) as refused:
            advisor.plan([{**job, **more}], FLEET, **START)
        assert says in str(refused.value.cause)


@pytest.mark.parametrize(("earliest", "deadline", "cards"), [("0 h", "9 h", 1), ("3 h", "9 h", 2), ("5 h", "9 h", 4)])
def test_the_time_a_job_has_runs_from_its_earliest_start(earliest, deadline, cards):
    job = {"name": "a", "model": "Qwen/Qwen2.5-7B", "samples": 100, "max_gpus": 4}
    fleet = [{"gpu": "L4", "kind": "owned", "count": 4, "usd_per_hour": 1.0}]
    found = advisor.plan([job | {"earliest": earliest, "deadline": deadline}], fleet, prices=by_cards, **START)
    assert len(found.placements[0].devices) == cards
