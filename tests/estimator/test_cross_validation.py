"""Intervals that cover what they promise, and runs that a fit never saw."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.estimator.calibration.cross_validation import conformal


@pytest.mark.parametrize(("count", "rank"), [(9, 9), (10, 10), (19, 18), (29, 27), (99, 90)])
def test_the_quantile_counts_the_run_to_come(count, rank):
    """Of n errors the ceil((n + 1) 0.9)-th: with the plain 0.9 quantile nine in ten would be too few."""
    assert conformal([i / 100 for i in range(1, count + 1)]) == pytest.approx(rank / 100)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=50))
def test_few_errors_give_the_largest_and_more_share_a_wider_interval(errors):
    assert conformal(errors, 0.5) <= conformal(errors, 0.9) <= max(abs(e) for e in errors)
    assert conformal([]) == math.inf
