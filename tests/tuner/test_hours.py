"""`--hours` keeps its word: measured first, then as planned, shortened, refused or ended, and it says which."""

from __future__ import annotations

import json
import time

import pytest

import advisor
from advisor.domain.tuning import Budget
from advisor.domain.units import HOUR
from advisor.errors import BadRequest
from advisor.tuner.budget import budget_left, make_plan
from advisor.tuner.execution.measure_steps import fit_hours, start_of
from advisor.tuner.trial_cost import measured_training_seconds
from advisor.tuner.tune_request import MeasuredSteps, finish_seconds
from tests.tiny_models import labelled
from tests.tuner.studies import toy_request

ONE = MeasuredSteps(row_seconds=1.0, spread=0.1, scored_row_seconds=0.1, load_seconds=2.0, save_seconds=0.5, steps=4)


def request_of(seconds, **more):
    return toy_request(budget=Budget(seconds=seconds), measured=ONE, **more)[0]


def test_the_plan_has_numbers_from_measured_steps_before_any_trial():
    request = request_of(3600)
    plan = make_plan(request)
    _, workload = start_of(request)
    assert plan.trial.mid == pytest.approx(measured_training_seconds(request, ONE, workload))
    assert plan.trial.basis == "measured"
    assert plan.trial.low < plan.trial.mid < plan.trial.high
    assert 1 < plan.trials < 1000


def test_hours_that_pay_for_a_training_leave_it_as_it_is():
    request = request_of(3600)
    assert fit_hours(request, 10.0) == (request, [])


@pytest.mark.parametrize("share", [0.9, 0.5, 0.3])
def test_a_training_too_long_is_shortened_to_what_the_hours_pay_for_and_that_is_said(share):
    whole = request_of(10**6)
    _, workload = start_of(whole)
    one = measured_training_seconds(whole, ONE, workload)
    after = finish_seconds(whole, ONE)
    request = request_of(one * share + after)
    shorter, notes = fit_hours(request, 0.0)
    _, now = start_of(shorter)
    assert 0 < now.epochs < workload.epochs
    assert measured_training_seconds(shorter, ONE, now) + after <= request.budget.seconds
    assert "shortened" in notes[0]
    assert "--hours" in notes[0]
    assert "epochs" not in {d.name for d in shorter.dimensions}


def test_hours_too_few_for_a_tenth_of_a_training_are_refused_with_what_it_needs():
    with pytest.raises(BadRequest, match="does not pay for one training") as error:
        fit_hours(request_of(8.0), 1.0)
    needed = float(error.value.hints[0].removeprefix("--hours "))
    assert fit_hours(request_of(needed * HOUR), 1.0)[1] == []


def test_the_clock_counts_although_nothing_trained():
    request = request_of(100).model_copy(update={"ends_at": time.time() + 1})
    seconds, _ = budget_left(request, [])
    assert seconds <= 1 - finish_seconds(request, ONE)


def write_rows(tmp_path, count=80):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in labelled(count)))
    return str(path)


def tune(tmp_path, spec, **more):
    given = {"method": "lora", "gpu": "cpu", "out": str(tmp_path / "study"), "threads": 1, "store": False, **more}
    return advisor.tune(spec.weights, write_rows(tmp_path), **given)


@pytest.mark.slow
def test_a_dry_run_prints_numbers_and_begins_nothing(tmp_path, tiny_bert):
    told = []
    found = tune(tmp_path, tiny_bert, trials=3, dry_run=True, on_plan=lambda plan, notes: told.append(plan))
    assert told[0].trial is not None
    assert told[0].seconds is not None
    assert (found.trials, found.finished, found.adapter) == ((), False, None)
    assert "nothing was begun" in found.stopped
    assert not (tmp_path / "study").exists()


GRACE_SECONDS = 120.0
"""Beyond the hours: a step that is being taken, its scoring, and what test and export take longer than foreseen."""


@pytest.mark.exhaustive
def test_the_hours_end_when_they_were_to_end(tmp_path, tiny_bert):
    began = time.monotonic()
    found = tune(tmp_path, tiny_bert, hours=240 / HOUR, epochs=400.0)
    took = time.monotonic() - began
    assert took < 240 + GRACE_SECONDS
    assert found.finished
    assert found.adapter
