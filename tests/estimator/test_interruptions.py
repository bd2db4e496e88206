"""Interruptions: what they are expected to cost is what an event-by-event run costs, and nobody's odds are assumed."""

from __future__ import annotations

import numpy as np
import pytest

from advisor.domain.hardware import Gpu, Hardware, Interruptions, Price
from advisor.domain.quantity import Quantity
from advisor.errors import BadRequest
from advisor.estimator.estimate_request import from_case, hardware_of
from advisor.estimator.spending.interruptions import lengthening, lost_seconds, on_spot
from advisor.estimator.spending.money import money_of

HOUR = 3600.0
TEN_HOURS = Quantity(low=9 * HOUR, mid=10 * HOUR, high=12 * HOUR, unit="s", basis="modelled", why="test")
OFTEN = Interruptions(per_hour=2, checkpoint_minutes=30, restart_minutes=6)


def machine(interruptions: Interruptions | None, **fields) -> Hardware:
    gpu = Gpu.model_validate({"name": "x", "vendor": "v", "generation": "g", "memory_bytes": 1, "usable_bytes": 1})
    return Hardware(gpu=gpu, interruptions=interruptions, **fields)


def played(one: Interruptions, work: float, random: np.random.Generator) -> float:
    """Seconds of one training, interruption by interruption: the slow way that needs no formula."""
    clock, done = 0.0, 0.0
    until = random.exponential(1 / one.per_second)
    while done < work:
        span = min(one.checkpoint_seconds, work - done)
        if until >= span:
            clock, done, until = clock + span, done + span, until - span
            continue
        clock += until
        until = random.exponential(1 / one.per_second)
        while until < one.restart_seconds:
            clock, until = clock + until, random.exponential(1 / one.per_second)
        clock, until = clock + one.restart_seconds, until - one.restart_seconds
    return clock


def test_the_formula_and_the_draws_are_what_playing_every_interruption_gives():
    random = np.random.default_rng(0)
    slow = np.array([played(OFTEN, 10 * HOUR, random) for _ in range(1500)])
    assert slow.mean() == pytest.approx(10 * HOUR * lengthening(OFTEN), rel=0.02)
    quick = 10 * HOUR + lost_seconds(OFTEN, np.full(20_000, 10 * HOUR), random)
    assert quick.mean() == pytest.approx(slow.mean(), rel=0.02)
    ends = (5, 95)
    assert np.percentile(quick, ends) == pytest.approx(np.percentile(slow, ends), rel=0.04)


@pytest.mark.parametrize("per_hour", [1e-9, 1e-4, 0.05])
def test_rare_interruptions_lose_half_a_span_and_a_restart_each(per_hour):
    rare = Interruptions(per_hour=per_hour, checkpoint_minutes=15, restart_minutes=5)
    assert lengthening(rare) - 1 == pytest.approx(per_hour * (0.125 + 5 / 60), rel=0.02)


def test_a_machine_that_is_never_taken_away_costs_its_time_and_more_odds_only_more():
    never = on_spot(TEN_HOURS, machine(OFTEN.model_copy(update={"per_hour": 0.0})))
    assert (never.low, never.mid, never.high) == (TEN_HOURS.low, TEN_HOURS.mid, TEN_HOURS.high)
    found = [
        on_spot(TEN_HOURS, machine(OFTEN.model_copy(update={"per_hour": odds}))).mid for odds in (0.01, 0.1, 1.0, 3.0)
    ]
    assert found == sorted(found)
    assert found[0] > TEN_HOURS.mid


@pytest.mark.parametrize("count", [2, 8])
def test_a_job_on_several_machines_stops_where_one_of_them_does_however_many_gpus_each_has(count):
    alone, both = (on_spot(TEN_HOURS, machine(OFTEN, count=count, nodes=nodes)) for nodes in (1, 2))
    twice = OFTEN.model_copy(update={"per_hour": 4})
    assert both.mid == pytest.approx(10 * HOUR * lengthening(twice))
    assert alone.mid == pytest.approx(10 * HOUR * lengthening(OFTEN))


def test_unsaid_odds_are_no_odds():
    assert on_spot(TEN_HOURS, machine(None)) is None
    price = Price.model_validate(
        {"provider": "p", "instance_type": "i", "gpu": "x", "gpu_count": 1, "region": "r", "on_demand_usd_h": 2.0,
         "spot_usd_h": 0.5, "source": {"address": "a"}}
    )  # fmt: skip
    from datetime import date

    bare = money_of(TEN_HOURS, machine(None), [price], today=date(2026, 11, 1))
    assert "never interrupted" in bare.spot.why
    wall = on_spot(TEN_HOURS, machine(OFTEN))
    told = money_of(TEN_HOURS, machine(OFTEN), [price], today=date(2026, 11, 1), on_spot=wall)
    assert told.spot.mid == pytest.approx(wall.mid / HOUR * 0.5)
    assert told.on_demand.mid == bare.on_demand.mid == pytest.approx(20)
    own = money_of(TEN_HOURS, machine(OFTEN, usd_per_hour=1.0), [price], today=date(2026, 11, 1), on_spot=wall)
    assert own.at(spot=True).mid == pytest.approx(wall.mid / HOUR)


def test_some_of_the_three_are_refused_by_the_name_of_what_is_missing():
    case = {"model": "m", "gpu": "L4", "method": "lora", "interruptions_per_hour": 0.05, "restart_minutes": 5}
    with pytest.raises(BadRequest) as refused:
        hardware_of(from_case(case))
    assert "--checkpoint-minutes is missing" in refused.value.message
    assert hardware_of(from_case({**case, "checkpoint_minutes": 15})).interruptions.per_hour == 0.05


def test_a_training_that_never_reaches_its_next_checkpoint_is_refused():
    hopeless = Interruptions(per_hour=60, checkpoint_minutes=60, restart_minutes=5)
    with pytest.raises(BadRequest, match="never gets on"):
        on_spot(TEN_HOURS, machine(hopeless))
