"""A budget is what was asked for: hours are hours, and scoring takes time too."""

from __future__ import annotations

import pytest

from advisor.domain.quantity import Quantity
from advisor.domain.tuning import Budget
from advisor.interfaces.cli.tune import _of_workload
from advisor.tuner.study_preparation import _budget, more_budget
from advisor.tuner.trial_cost import _time
from advisor.tuner.tune_query import checked_query
from tests.tuner.studies import toy_request


@pytest.mark.parametrize("hours", [0.1, 2, 24.0])
def test_hours_are_3600_seconds(hours):
    assert _budget(checked_query({"hours": hours}), None).seconds == pytest.approx(hours * 3600)
    assert more_budget(Budget(trials=3), None, hours, None).seconds == pytest.approx(hours * 3600)


def test_scoring_is_part_of_a_trials_time():
    """Twice the scorings, or twice the rows scored, make a predicted trial longer."""
    modelled = Quantity.around(100.0, 0.1, 0.1, "s", "modelled", "x")
    request, _ = toy_request()
    once = request.model_copy(update={"evaluations": 1, "evaluation_rows": 10})
    often = request.model_copy(update={"evaluations": 8, "evaluation_rows": 10})
    least, some, more = (
        100.0,
        _time(once, request.workload, modelled, ()).mid,
        _time(often, request.workload, modelled, ()).mid,
    )
    assert least < some < more


def test_the_price_of_an_hour_reaches_the_recommendation():
    asked = {"usd_per_hour": 1.5, "seq_len": 128, "dtype": "float32", "trials": 3}
    assert _of_workload(asked) == {"usd_per_hour": 1.5, "seq_len": 128, "dtype": "float32"}
