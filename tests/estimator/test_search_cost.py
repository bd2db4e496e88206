"""What a search costs before it starts: trials, finals and scorings, down to what pruning may save."""

from __future__ import annotations

import math

import pytest

import advisor
from advisor.domain.quantity import Quantity
from advisor.errors import BadRequest
from advisor.estimator.spending.search_cost import PRUNED_SHARE, final_trainings, with_scoring

ASKED = {"method": "lora", "batch_size": 4, "seq_len": 683, "usd_per_hour": 2.0}


@pytest.fixture(scope="module")
def found():
    return {
        trials: advisor.estimate("meta-llama/Llama-3.2-3B", "L40S", **ASKED, samples=2000, trials=trials)
        for trials in (1, 8, 32)
    }


def test_a_search_is_its_trials_and_finals_each_a_training_with_its_scorings(found):
    for trials, candidate in found.items():
        search, training = candidate.search, candidate.time.training
        assert search.finals == {1: 0, 8: 6, 32: 6}[trials] == final_trainings(trials)
        number = trials + search.finals
        assert search.trial.mid > training.mid
        assert search.seconds.mid == pytest.approx(number * search.trial.mid)
        assert search.seconds.high == pytest.approx(number * search.trial.high)
        assert search.seconds.low == pytest.approx(number * search.trial.low * PRUNED_SHARE)
        assert search.usd.mid == pytest.approx(search.seconds.mid / 3600 * 2.0)
        assert search.on_spot is None


def test_scoring_costs_a_forward_pass():
    hour = Quantity.around(3600.0, 0.1, 0.1, "s", "modelled", "told")
    assert with_scoring(hour, 3000, 3000).mid == pytest.approx(3600 * 4 / 3)
    assert math.isfinite(with_scoring(hour, 0, 0).mid)


def test_without_samples_a_search_has_no_cost_and_is_refused():
    with pytest.raises(BadRequest, match="without a number of samples"):
        advisor.estimate("meta-llama/Llama-3.2-3B", "L40S", **ASKED, trials=8)


def test_a_search_on_spot_is_counted_with_its_interruptions():
    odds = {"interruptions_per_hour": 0.5, "checkpoint_minutes": 30, "restart_minutes": 10}
    both = advisor.estimate("meta-llama/Llama-3.2-3B", "L40S", **ASKED, **odds, samples=2000, trials=8)
    longer = both.time.on_spot.mid / both.time.training.mid
    assert both.search.on_spot.mid == pytest.approx(both.search.seconds.mid * longer)
    assert both.search.spot_usd.mid == pytest.approx(both.search.usd.mid * longer)
