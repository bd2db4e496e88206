"""A score's interval is that of its rows drawn again; who is best is told by rows scored alike."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.training.metrics import (
    chances_of_best,
    classification_scores,
    f1_interval,
    interval,
    interval_of_mean,
    intervals,
)


def test_the_interval_of_a_share_is_the_binomial_one():
    rows = [(1.0, 1.0)] * 8000 + [(0.0, 1.0)] * 2000
    low, high = interval(rows)
    half = 1.645 * math.sqrt(0.8 * 0.2 / 10_000)
    # twice the noise of a quantile of 1000 draws; a 95 or an 80 % interval lies further off
    assert low == pytest.approx(0.8 - half, abs=6e-4)
    assert high == pytest.approx(0.8 + half, abs=6e-4)


def test_a_loss_weighs_rows_by_their_tokens_and_perplexity_follows():
    found = intervals({"loss": {0: (10.0, 10.0), 1: (90.0, 30.0), 2: (40.0, 20.0)}})
    assert found["loss"][0] <= 140 / 60 <= found["loss"][1]
    assert found["perplexity"] == tuple(math.exp(end) for end in found["loss"])


def test_rows_that_are_hard_for_all_do_not_blur_who_is_better():
    """One candidate is right wherever the other is and on a few rows more: on the same rows that is nearly sure."""
    worse = [(1.0, 1.0)] * 50 + [(0.0, 1.0)] * 50
    better = [(1.0, 1.0)] * 56 + [(0.0, 1.0)] * 44
    paired = chances_of_best([[worse], [better]], higher=True)
    assert paired[1] > 0.97
    shuffled = [better[(i * 37) % 100] for i in range(100)]
    assert chances_of_best([[worse], [shuffled]], higher=True)[1] < paired[1]


@pytest.mark.slow
@settings(deadline=None, max_examples=15)
@given(st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=6, max_size=6), min_size=2, max_size=4), st.booleans())
def test_chances_are_shares_of_one(rows, higher):
    chances = chances_of_best([[[(value, 1.0) for value in run]] for run in rows], higher=higher)
    assert sum(chances) == pytest.approx(1)
    assert all(0 <= chance <= 1 for chance in chances)


def test_the_interval_of_f1_is_that_of_rows_drawn_again():
    draw = np.random.default_rng(1)
    wanted = draw.integers(0, 3, 200)
    predicted = np.where(draw.random(200) < 0.7, wanted, draw.integers(0, 4, 200))
    places = draw.integers(0, 200, (300, 200))
    again = [classification_scores(predicted[p].tolist(), wanted[p].tolist())["f1"] for p in places]
    low, high = f1_interval(predicted.tolist(), wanted.tolist())
    # quantiles of 300 draws lie within about a hundredth of those of a thousand
    assert (low, high) == pytest.approx(np.quantile(again, [0.05, 0.95]), abs=0.02)


def test_the_interval_of_a_mean_over_seeds_holds_seeds_and_rows():
    rows = [(1.0, 1.0)] * 70 + [(0.0, 1.0)] * 30
    alone = interval(rows)
    assert interval_of_mean([rows, rows], metric="accuracy") == pytest.approx(alone, abs=0.02)
    worse = [(1.0, 1.0)] * 50 + [(0.0, 1.0)] * 50
    low, high = interval_of_mean([rows, worse], metric="accuracy")
    assert high - low > alone[1] - alone[0]
    nats = [(2.0, 1.0)] * 10
    assert interval_of_mean([nats], metric="perplexity") == pytest.approx((math.exp(2), math.exp(2)))
