"""A score's interval is that of its rows drawn again; who is best is told by rows scored alike."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.training.metrics import chances_of_best, interval, intervals


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


@settings(deadline=None, max_examples=15)
@given(st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=6, max_size=6), min_size=2, max_size=4), st.booleans())
def test_chances_are_shares_of_one(rows, higher):
    chances = chances_of_best([[[(value, 1.0) for value in run]] for run in rows], higher=higher)
    assert sum(chances) == pytest.approx(1)
    assert all(0 <= chance <= 1 for chance in chances)
