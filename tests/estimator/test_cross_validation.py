"""Intervals that cover what they promise, and runs that a fit never saw."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.estimator.calibration.cross_validation import _with_intervals, conformal


@pytest.mark.parametrize(("count", "rank"), [(9, 9), (10, 10), (19, 18), (29, 27), (99, 90)])
def test_the_quantile_counts_the_run_to_come(count, rank):
    """Of n errors the ceil((n + 1) 0.9)-th: with the plain 0.9 quantile nine in ten would be too few."""
    assert conformal([i / 100 for i in range(1, count + 1)]) == pytest.approx(rank / 100)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=50))
def test_few_errors_give_the_largest_and_more_share_a_wider_interval(errors):
    assert conformal(errors, 0.5) <= conformal(errors, 0.9) <= max(abs(e) for e in errors)
    assert conformal([]) == math.inf


@pytest.mark.parametrize("target", ["step_time", "peak_reserved"])
@pytest.mark.parametrize("own", [1.0, 1.05, 3.0])
def test_a_runs_interval_is_made_of_the_errors_of_all_others(target, own):
    """A run that helped to make the interval it is judged by would make coverage look better than it is."""
    measured = [own, 1.1, 0.8, 1.02]
    runs = [SimpleNamespace(step_seconds=m, profile=SimpleNamespace(peak_reserved_bytes=m)) for m in measured]
    found = _with_intervals(runs, {(i, target): 1.0 for i in range(4)}, [target])
    assert (found[0].low, found[0].high) == pytest.approx((0.8, 1.2))
    assert found[0].inside == (own < 1.2)
    assert found[2].high == pytest.approx(1 + max(own - 1, 0.1))


def test_a_run_that_did_not_measure_a_target_has_no_prediction_of_it():
    runs = [SimpleNamespace(step_seconds=m) for m in (1.0, None, 1.1)]
    found = _with_intervals(runs, {(i, "step_time"): 1.0 for i in range(3)}, ["step_time"])
    assert [one.run for one in found] == [runs[0], runs[2]]
