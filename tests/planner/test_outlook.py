"""Draws of a plan: what jobs have in common, what waiting does, intervals and interruptions kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.domain.hardware import Interruptions
from advisor.domain.quantity import Quantity
from advisor.planner.files.moments import moment_of
from advisor.planner.solver.opening_hours import Calendar, open_spans
from advisor.planner.solver.problem import Machines
from advisor.planner.solver.uncertainty import DrawnRun, TimeSpread, outlook

HOUR = 3600.0
SPREAD = TimeSpread.from_quantity(
    Quantity(low=6 * HOUR, mid=9 * HOUR, high=15 * HOUR, unit="s", basis="modelled", why="")
)


def run(pool: int, machine: int, *, begin: float = 0.0, due: float = 10 * HOUR, model: str = "m", **more) -> DrawnRun:
    return DrawnRun(pool, machine, begin, more.pop("release", 0.0), due, SPREAD, model, **more)


def machines(number: int = 1, **more) -> list[Machines]:
    return [Machines(f"p{i}", f"gpu{i}", None, 1 / HOUR, **more) for i in range(number)]


def test_one_jobs_interval_is_its_estimates():
    seen = outlook(machines(), {0: run(0, 0)}, 20_000, 0)
    low, mid, high = seen.finish[0] / HOUR
    assert (low, mid, high) == (pytest.approx(6, rel=0.03), pytest.approx(9, rel=0.03), pytest.approx(15, rel=0.03))
    assert SPREAD.quantile(0.95) == pytest.approx(15 * HOUR)
    assert SPREAD.quantile(0.05) == pytest.approx(6 * HOUR)


def test_jobs_of_one_model_on_one_gpu_are_late_together_and_others_less_so():
    """All in time: more likely than if each were on its own, most so where they share their cause."""
    pairs = {
        "one model": ({0: run(0, 0), 1: run(0, 1)}, 1),
        "one gpu": ({0: run(0, 0), 1: run(0, 1, model="other")}, 1),
        "nothing": ({0: run(0, 0), 1: run(1, 0, model="other")}, 2),
    }
    together = {name: outlook(machines(number), runs, 20_000, 1) for name, (runs, number) in pairs.items()}
    alone = together["nothing"].chance[0]
    assert together["nothing"].all_in_time == pytest.approx(alone**2, abs=0.02)
    assert together["one gpu"].all_in_time > together["nothing"].all_in_time + 0.03
    assert together["one model"].all_in_time > together["one gpu"].all_in_time + 0.03
    # the sum of their costs is as much wider
    widths = {name: np.ptp(np.percentile(seen.total_usd, (5, 95))) for name, seen in together.items()}
    assert widths["nothing"] < widths["one gpu"] < widths["one model"]


def test_a_job_waits_for_its_machine_and_for_those_before_it():
    runs = {0: run(0, 0), 1: run(0, 0, begin=9 * HOUR, due=30 * HOUR), 2: run(1, 0, begin=18 * HOUR, before=(1,))}
    seen = outlook(machines(2), runs, 2_000, 2)
    assert seen.finish[1][1] == pytest.approx(2 * seen.finish[0][1], rel=0.1)
    assert seen.finish[2][1] > seen.finish[1][1]
    assert seen.chance[2] < 0.01
    assert seen.expected_late == pytest.approx(sum(1 - chance for chance in seen.chance.values()))


def test_a_running_job_ends_after_now_and_sooner_than_a_new_one():
    fresh, old = outlook(machines(), {0: run(0, 0)}, 5_000, 3), outlook(
        machines(), {0: run(0, 0, begin=-8 * HOUR, release=-8 * HOUR, elapsed=8 * HOUR)}, 5_000, 3
    )  # fmt: skip
    assert 0 <= old.finish[0][0] < fresh.finish[0][0]
    # given that it took 8 hours, it takes longer than it was expected to
    assert old.seconds[0][1] > fresh.seconds[0][1]


def test_interruptions_cost_what_they_are_expected_to():
    spot = machines(interruptions=Interruptions(per_hour=1, checkpoint_minutes=30, restart_minutes=6))
    sure = TimeSpread(10 * HOUR, 0.0, 0.0)
    runs = {0: DrawnRun(0, 0, 0.0, 0.0, np.inf, sure, "m")}
    seen = outlook(spot, runs, 20_000, 4)
    assert seen.total_usd.mean() == pytest.approx(10 * spot[0].lengthening, rel=0.02)
    assert seen.all_in_time is None


def test_the_same_seed_draws_the_same():
    first, second = (outlook(machines(), {0: run(0, 0)}, 100, 5) for _ in range(2))
    assert (first.total_usd == second.total_usd).all()
    assert (first.total_usd != outlook(machines(), {0: run(0, 0)}, 100, 6).total_usd).any()


HOURS = st.sampled_from(["18:00-08:00", "09:00-17:30", "00:00-24:00", "22:00-02:00", ""])
DAYS = st.sampled_from([(), ("mon",), ("sun",), ("mon", "tue", "sat"), ("fri", "sat", "sun")])


@settings(max_examples=60, deadline=None)
@given(HOURS, DAYS, st.integers(0, 604799), st.floats(0, 3e6), st.floats(0, 5e5), st.floats(0, 2000))
def test_open_hours_count_forwards_and_backwards(hours, days, offset, clock, work, reload):
    calendar = Calendar(spans=open_spans(hours, days), offset=float(offset))
    opened = float(calendar.machine_time(clock))
    assert -1e-6 <= opened <= clock + 1e-6
    back = float(calendar.clock_time(opened))
    assert back <= clock + 1e-6
    assert float(calendar.machine_time(back)) == pytest.approx(opened, abs=1e-5)
    begin = float(calendar.opens_at(clock))
    assert begin >= clock - 1e-6
    assert float(calendar.machine_time(begin)) == pytest.approx(opened, abs=1e-5)
    end = float(calendar.finish(clock, work, 0.0))
    assert float(calendar.machine_time(end)) - opened == pytest.approx(work, abs=1e-4)
    assert float(calendar.finish(clock, work, reload)) >= end - 1e-6


@pytest.mark.parametrize("day", range(7))
@pytest.mark.parametrize(("hour", "minute"), [(0, 0), (7, 30), (23, 59)])
def test_a_plan_knows_the_day_and_the_hour_of_the_week_at_which_it_begins(day: int, hour: int, minute: int):
    monday = datetime(2026, 11, 30, tzinfo=UTC)
    start = monday + timedelta(days=day, hours=hour, minutes=minute)
    calendar = Calendar.from_start(open_spans("09:00-17:00", ("wed",)), start)
    opens = start + timedelta(seconds=float(calendar.opens_at(0.0)))
    assert opens.strftime("%a") == "Wed"
    assert opens - start < timedelta(days=7)
    assert (opens.hour, opens.minute) == (9, 0)


def test_machines_close_once_a_day_seen_from_any_begin_of_the_plan():
    for began in (8, 16):
        calendar = Calendar(spans=open_spans("09:00-17:30", ()), offset=began * HOUR)
        begin = (16.5 - began) * HOUR
        for end, closed in ((17.4, 0), (24 + 9.5, 1), (7 * 24 + 16.5, 7)):
            assert calendar.closings(begin, (end - began) * HOUR) == closed
    assert Calendar().closings(0.0, 1e6) == 0


def test_moments_are_dates_in_utc_or_whiles():
    start = datetime(2026, 12, 1, tzinfo=UTC)
    for said, hours in {"2026-12-02": 24, "36 h": 36, "2d": 48, "2026-12-01T03:00+02:00": 1, "90 min": 1.5}.items():
        assert moment_of(said).seconds_from(start) == pytest.approx(hours * HOUR), said
    assert moment_of(datetime(2026, 12, 1, 5)).seconds_from(start) == 5 * HOUR
    for wrong in ("soon", 36, True, "99999 w", "2026-13-01", ""):
        with pytest.raises(ValueError, match=r"a time is|fifty years"):
            moment_of(wrong)
