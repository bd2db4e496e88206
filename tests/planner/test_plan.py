"""The planner's door: files read or refused, prices, deadlines, budgets, running jobs, what-if."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from pathlib import Path

import pytest

import advisor
from advisor.domain.fleet.fleet_plan import FleetPlan
from advisor.errors import BadFile, BadRequest, DoesNotFit, UnknownName

START = "2026-11-30 08:00"
FLEET = [
    {"gpu": "L4", "kind": "owned", "count": 2, "usd_per_hour": 0.1},
    {"gpu": "H100", "quota": 2, "usd_per_hour": 3.0},
]
JOBS = [
    {"name": "a", "hours": {"L4": 6, "H100": 1.5}, "deadline": "8 h", "team": "nlp"},
    {"name": "b", "hours": {"L4": [4, 6, 9], "H100": 2}, "deadline": "13 h", "repeats": 3, "team": "nlp"},
    {"name": "c", "hours": {"L4": 3}, "after": "a", "deadline": "20 h"},
]


def planned(jobs=JOBS, fleet=FLEET, **options) -> FleetPlan:
    return advisor.plan(jobs, fleet, start=START, **{"time_limit": 10, **options})


def test_a_plan_says_who_runs_where_and_when_at_what_cost_and_chance():
    found = planned()
    assert found.label == "complete"
    assert not found.partial
    assert sorted(one.job for one in found.placements) == ["a", "b #1", "b #2", "b #3", "c"]
    by_job = {one.job: one for one in found.placements}
    assert by_job["c"].start >= by_job["a"].end
    assert by_job["c"].pool == "L4-owned"
    for one in found.placements:
        assert one.deadline is not None
        assert one.start < one.end <= one.deadline
        assert one.finish_low <= one.finish_mid <= one.finish_high
        assert one.chance is not None
        assert one.usd.low <= one.usd.mid <= one.usd.high
        assert one.usd.unit == "USD"
    assert found.usd.low < found.usd.mid < found.usd.high
    assert found.solution.gap is not None
    assert 0 <= found.solution.gap < 1
    assert found.start == datetime(2026, 11, 30, 8, tzinfo=UTC)


def test_copies_of_a_priced_job_share_the_recipe_that_is_told_of_once():
    job = {"name": "tune", "model": "meta-llama/Llama-3.2-1B", "method": "lora", "samples": 2000, "repeats": 2}
    found = planned([job | {"deadline": "20 h"}, JOBS[0]], [{"gpu": "H100", "quota": 3, "usd_per_hour": 3.0}])
    by_job = {one.job: one for one in found.placements}
    assert by_job["tune #1"].recipe == by_job["tune #2"].recipe
    assert list(found.recipes) == [by_job["tune #1"].recipe]
    assert found.recipes[by_job["tune #1"].recipe].recipe.method == "lora"
    assert by_job["a"].recipe == ""


def test_the_same_question_has_the_same_answer_and_travels():
    first, second = planned(), planned()
    assert first.model_copy(update={"solution": second.solution}) == second
    assert pickle.loads(pickle.dumps(first)) == first
    assert FleetPlan.from_document(first.to_document()) == first


def test_a_job_that_never_fits_is_named_with_what_would():
    found = planned(
        [*JOBS, {"name": "long", "hours": 50, "deadline": "20 h"}, {"name": "z", "hours": 1, "after": "long"}]
    )
    assert found.partial
    assert found.label.startswith("partial")
    long, after = found.unplaced
    assert (long.job, long.kind) == ("long", "too-slow")
    assert any("deadline" in text for text in long.would)
    assert after.kind == "after-unplaced"
    with pytest.raises(DoesNotFit) as refused:
        planned([{"name": "long", "hours": 50, "deadline": "20 h"}])
    assert refused.value.exit_code == 3


def test_what_comes_after_a_job_that_has_no_room_is_left_out_for_that_reason():
    jobs = [{"name": name, "hours": 5, "deadline": "6 h", "priority": p} for name, p in (("x", 1), ("y", 5), ("z", 2))]
    after = {"name": "w", "hours": 1, "after": ["y", "x"]}
    found = planned([*jobs, after], [{"gpu": "L4", "kind": "owned", "count": 2}])
    assert {one.job for one in found.placements} == {"y", "z"}
    reasons = {one.job: (one.kind, one.reason) for one in found.unplaced}
    assert reasons["w"] == ("after-unplaced", "it comes after 'x', which the plan leaves out")
    assert reasons["x"][0] == "no-room"


def test_where_there_is_no_room_the_heavier_job_is_done():
    jobs = [{"name": name, "hours": 5, "deadline": "6 h", "priority": p} for name, p in (("x", 1), ("y", 5), ("z", 2))]
    found = planned(jobs, [{"gpu": "L4", "kind": "owned", "count": 2}])
    assert {one.job for one in found.placements} == {"y", "z"}
    assert [(one.job, one.kind) for one in found.unplaced] == [("x", "no-room")]
    assert found.solution.left_out_at_least is not None
    assert found.solution.left_out_at_least <= 1.0


def test_a_budget_is_kept_and_named_where_it_ends():
    fleet = {"gpus": [{"gpu": "H100", "usd_per_hour": 3.0}], "budgets": {"nlp": 9.5}}
    found = planned(JOBS[:2], fleet)
    assert found.teams[0].budget_usd == 9.5
    assert sum(one.usd.mid for one in found.placements) < 9.6
    assert {one.kind for one in found.unplaced} == {"over-budget"}


@pytest.mark.parametrize("hours", [3.0, 5.9])
def test_more_time_is_more_chance(hours):
    jobs = [{"name": "a", "hours": [3, 6, 9], "deadline": f"{hours + 1} h"}]
    fleet = [{"gpu": "L4", "kind": "owned", "count": 1}]
    early, late = planned(jobs, fleet, confidence=0.05), planned([{**jobs[0], "deadline": "9 h"}], fleet)
    assert early.placements[0].chance < late.placements[0].chance


def test_confidence_keeps_more_time():
    alone = [{"gpu": "L4", "kind": "owned", "count": 9}]
    ends = [planned(JOBS[1:2], alone, confidence=level).placements for level in (0.5, 0.95)]
    kept = [sum((one.end - one.start).total_seconds() for one in found) for found in ends]
    assert kept[0] < kept[1]


def test_a_running_job_keeps_its_machine_and_costs_what_is_left():
    jobs = {"jobs": JOBS, "running": [{"job": "a", "pool": "L4-owned", "started": "2026-11-30 04:00"}]}
    found = planned(jobs)
    (running,) = [one for one in found.placements if one.running]
    assert (running.job, running.device) == ("a", 0)
    assert running.start < found.start
    assert running.usd.mid == pytest.approx(0.2, rel=0.1)
    (c,) = [one for one in found.placements if one.job == "c"]
    assert c.start >= running.end
    half = planned({**jobs, "running": [{**jobs["running"][0], "progress": 0.5}]})
    (told,) = [one for one in half.placements if one.running]
    assert told.finish_mid > running.finish_mid


def test_what_is_done_is_waited_for_no_more():
    found = planned({"jobs": [JOBS[2]], "done": ["a"]})
    assert found.placements[0].start == found.start


def test_spot_machines_cost_restarts_and_need_their_odds():
    spot = {"gpu": "H100", "kind": "spot", "usd_per_hour": 1.0, "interruptions_per_hour": 0.5}
    whole = {**spot, "checkpoint_minutes": 30, "restart_minutes": 10}
    jobs = [{"name": "a", "hours": 10}]
    often, never = planned(jobs, [whole]), planned(jobs, [{**whole, "interruptions_per_hour": 0}])
    # half an hour of checkpoints loses 15 minutes on average, and 10 go until it runs again
    assert often.placements[0].usd.mid == pytest.approx(10 * (1 + 0.5 * 25 / 60), rel=0.08)
    assert never.placements[0].usd.mid == pytest.approx(10, rel=0.03)
    with pytest.raises(BadRequest, match="spot"):
        planned(jobs, [spot])


def test_working_hours_are_kept():
    fleet = [{"gpu": "L4", "kind": "owned", "count": 1, "hours": "18:00-08:00", "days": "mon tue wed thu fri"}]
    found = planned([{"name": "a", "hours": 21}], fleet)
    (one,) = found.placements
    assert one.start == datetime(2026, 11, 30, 18, tzinfo=UTC)
    assert one.finish_mid.date() == datetime(2026, 12, 2).date()


def test_what_if_is_told_beside_what_was():
    dearer = planned(price_change="H100-rented=+50%")
    assert dearer.change is not None
    assert dearer.change.usd_after > dearer.change.usd_before
    more = planned(add_gpu=["L4=4"])
    assert more.change.usd_after < more.change.usd_before
    other = planned(add_gpu="L40S=1", price_change="H100=2.5", deadline="c=30 h")
    assert "L40S-rented" in {use.pool for use in other.pools}
    assert next(one for one in other.placements if one.job == "c").deadline == datetime(2026, 12, 1, 14, tzinfo=UTC)
    assert planned(deadline="40 h").change.usd_after < planned().usd.mid


WRONG = {
    "a circle": ([{"name": "a", "hours": 1, "after": "b"}, {"name": "b", "hours": 1, "after": "a"}], FLEET, "circle"),
    "two of one name": ([JOBS[0], JOBS[0]], FLEET, "two jobs"),
    "a deadline that is over": ([{**JOBS[0], "deadline": "2026-11-01"}], FLEET, "before the plan"),
    "a deadline before the start": ([{**JOBS[0], "earliest": "9 h"}], FLEET, "contradicts"),
    "a deadline before that of a former": (
        [{"name": "a", "hours": 1, "earliest": "9 h"}, {"name": "b", "hours": 1, "after": "a", "deadline": "8 h"}],
        FLEET,
        "contradicts",
    ),
    "a GPU nobody knows": (JOBS, [{"gpu": "H9000"}], "unknown gpu"),
    "a price below 0": (JOBS, [{"gpu": "L4", "usd_per_hour": -1}], "usd_per_hour"),
    "a budget below 0": (JOBS, {"gpus": FLEET, "budgets": {"nlp": -5}}, "below 0"),
    "an unknown key": ([{"name": "a", "hours": 1, "dedline": "3 h"}], FLEET, "deadline"),
    "a GPU of a job": ([{"name": "a", "hours": 1, "gpu": "L4"}], FLEET, "fleet's file"),
    "no count of what is owned": (JOBS, [{"gpu": "L4", "kind": "owned"}], "count"),
    "no time": ([{"name": "a", "hours": 1, "deadline": "soon"}], FLEET, "36 h"),
    "negative hours": ([{"name": "a", "hours": -1}], FLEET, "above 0"),
    "a pool that is not there": ([{"name": "a", "hours": 1, "pools": "T4"}], FLEET, "unknown pool"),
    "a job that is not there": ([{"name": "a", "hours": 1, "after": "q"}], FLEET, "'q'"),
    "neither model nor hours": ([{"name": "a"}], FLEET, "model"),
    "no jobs": ([], FLEET, "jobs"),
    "two pools of one name": (JOBS, [FLEET[0], FLEET[0]], "two pools"),
    "hours that are none": (JOBS, [{**FLEET[0], "hours": "8-25"}], "18:00-08:00"),
    "more that run than there is": (
        {"jobs": [{**JOBS[1], "repeats": 9}], "running": [{"job": "b", "pool": "H100", "started": START}] * 3},
        FLEET,
        "2 devices",
    ),
    "a place that may be two": (
        {"jobs": JOBS, "running": [{"job": "a", "pool": "L4", "started": START}]},
        [*FLEET, {"gpu": "L4", "usd_per_hour": 1}],
        "may be",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_contradicts_itself_is_refused_and_named(what):
    jobs, fleet, said = WRONG[what]
    with pytest.raises(BadRequest) as refused:
        planned(jobs, fleet)
    assert said in str(refused.value), str(refused.value)


@pytest.mark.parametrize("option", [{"confidence": 2}, {"time_limit": 0}, {"price_change": "H100"}, {"start": "noon"},
                                    {"add_gpu": "L4=-1"}, {"price_change": "H100=-200%"}, {"deadline": "q=3 h"},
                                    {"conf": 1}])  # fmt: skip
def test_an_option_out_of_range_is_refused(option):
    with pytest.raises(BadRequest):
        advisor.plan(JOBS, FLEET, **{"start": START, **option})


def test_files_are_read_as_values_are_and_bad_ones_are_named(tmp_path: Path):
    jobs, fleet = tmp_path / "jobs.yaml", tmp_path / "fleet.yaml"
    jobs.write_text("jobs:\n- {name: a, hours: 2, deadline: 2026-11-30T20:00:00Z}\n")
    fleet.write_text("gpus:\n- {gpu: L4, kind: owned, count: 1}\n")
    assert planned(jobs, str(fleet)).label == "complete"
    bad = {
        "name: a\nname: b\n": "twice",
        "a: &x [1]\nb: *x\n": "alias",
        "jobs: [{name: a, hours: many}]\n": "entry 1 (a)",
        "jobs: !!python/object:os.system {}\n": "YAML",
        "- 1\n": "mapping",
    }
    for text, said in bad.items():
        jobs.write_text(text)
        with pytest.raises(BadFile) as refused:
            planned(jobs, fleet)
        assert said in str(refused.value), str(refused.value)
        assert refused.value.exit_code == 4
    with pytest.raises(BadFile):
        planned(tmp_path / "none.yaml", fleet)


def test_an_owned_gpu_without_a_price_says_that_it_counts_as_nothing():
    found = planned([{"name": "a", "hours": 1}], [{"gpu": "L4", "kind": "owned", "count": 1}])
    assert any("counted as no money" in note for note in found.notes)


def test_an_unknown_model_is_refused_at_once():
    with pytest.raises(UnknownName):
        planned([{"name": "a", "model": "meta-lama/Llama-99B", "samples": 10}])
