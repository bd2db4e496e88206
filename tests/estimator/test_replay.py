"""Laws of a replayed run: nothing is lost, nothing leaks, more tokens never take less."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.domain.candidate import BREAKDOWN
from advisor.estimator.batch_lengths import EMPTY_CACHE, Shape
from advisor.estimator.memory.replay import peak_allocated, replay

MIB = 2**20


def test_the_breakdown_adds_up_to_the_peak_exactly(timeline):
    played = replay(timeline, [Shape(2, 500), Shape(2, 700)], workspace_bytes=8 * MIB)
    assert sum(played.breakdown.values()) == played.peak_allocated
    assert set(played.breakdown) == set(BREAKDOWN)
    assert played.breakdown["workspace"] == 16 * MIB
    assert played.breakdown["base weights"] >= 96 * MIB


def test_what_is_alive_after_a_step_is_weights_state_gradients_and_held_outputs(timeline):
    played = replay(timeline, [Shape(1, 1000), Shape(1, 1000)])
    logits = 32_000 * 1000
    kept = 3 * (32 + 3 + 3 + 6) * MIB + logits
    assert kept <= played.after_steps[1] <= kept + 2 * MIB


@pytest.mark.parametrize("holds", [True, False])
@pytest.mark.parametrize("zero_after", [True, False])
@pytest.mark.parametrize("accumulation", [1, 2, 5])
def test_steady_steps_leak_nothing(toys, holds, zero_after, accumulation):
    timeline = toys(holds_outputs=holds, zero_after=zero_after)
    played = replay(timeline, [Shape(2, 300)] * 6, accumulation=accumulation)
    assert len(set(played.after_steps[1:])) == 1, f"allocated after each step: {played.after_steps}"
    assert played.fits


@pytest.mark.parametrize("holds", [True, False])
def test_accumulation_keeps_gradients_alive_through_the_forward_pass(toys, holds):
    timeline = toys(holds_outputs=holds)
    one = replay(timeline, [Shape(4, 2000)] * 2)
    many = replay(timeline, [Shape(4, 2000)] * 2, accumulation=4)
    assert one.peak_allocated <= many.peak_allocated <= one.peak_allocated + 2 * 9 * MIB
    assert sum(many.breakdown.values()) == many.peak_allocated


def test_a_held_output_of_the_step_before_counts_at_the_peak(toys):
    shape = Shape(4, 2000)
    held = replay(toys(holds_outputs=True), [shape, shape]).peak_allocated
    dropped = replay(toys(holds_outputs=False), [shape, shape]).peak_allocated
    temporary, gradient = 4 * 2000 * 8192, 3 * MIB
    assert held - dropped == 4 * 2000 * 32_000 - temporary - gradient, "held: peak in forward; dropped: in backward"


shapes = st.builds(Shape, st.integers(1, 8), st.integers(1, 4096).map(float))


@settings(max_examples=30, deadline=None)
@given(shape=shapes, more=st.integers(0, 2000), wider=st.integers(0, 4))
def test_more_tokens_never_take_fewer_bytes(toys, shape, more, wider):
    timeline = toys()
    larger = Shape(shape.batch + wider, shape.length + more)
    small, large = replay(timeline, [shape, shape]), replay(timeline, [larger, larger])
    assert small.peak_allocated <= large.peak_allocated + 3 * MIB, "unsplit remainders may differ by a mebibyte a block"
    assert peak_allocated(timeline, shape).peak <= peak_allocated(timeline, larger).peak


@settings(max_examples=30, deadline=None)
@given(shape=shapes, accumulation=st.sampled_from([1, 4]))
def test_the_quick_peak_is_a_close_lower_bound_of_the_replayed_one(toys, shape, accumulation):
    timeline = toys()
    quick = peak_allocated(timeline, shape, workspace_bytes=MIB, accumulation=accumulation)
    played = replay(timeline, [shape, shape], workspace_bytes=MIB, accumulation=accumulation)
    assert sum(quick.breakdown.values()) == quick.peak
    if accumulation == 1:
        assert quick.peak <= played.peak_allocated <= quick.peak + 30 * MIB
    else:
        assert played.peak_allocated <= quick.peak + 30 * MIB


@pytest.mark.parametrize("workspace", [0, 8 * MIB, 32 * MIB])
def test_both_cublas_workspaces_are_in_the_quick_peak_as_in_the_replayed_one(timeline, workspace):
    """One for the forward and one for the backward pass: on Hopper 32 MiB each."""
    shape = Shape(2, 500)
    without = peak_allocated(timeline, shape)
    quick = peak_allocated(timeline, shape, workspace_bytes=workspace)
    assert quick.peak - without.peak == 2 * workspace
    assert quick.breakdown["workspace"] == 2 * workspace
    played = replay(timeline, [shape, shape], workspace_bytes=workspace)
    assert played.breakdown["workspace"] == quick.breakdown["workspace"]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_names_of_storages_do_not_matter(toys, seed):
    timeline = toys()
    names = np.random.default_rng(seed).permutation(timeline.mem_storage.max() + 1)
    renamed = dataclasses.replace(timeline, mem_storage=names[timeline.mem_storage])
    batches = [Shape(2, 700), EMPTY_CACHE, Shape(2, 900)]
    one, other = replay(timeline, batches), replay(renamed, batches)
    assert (one.peak_allocated, one.peak_reserved, one.breakdown) == (
        other.peak_allocated,
        other.peak_reserved,
        other.breakdown,
    )


def test_emptying_the_cache_before_the_longest_batch_reserves_no_more(timeline):
    short, long = Shape(4, 900), Shape(4, 2000)
    kept = replay(timeline, [short, short, long]).peak_reserved
    emptied = replay(timeline, [short, short, EMPTY_CACHE, long]).peak_reserved
    assert emptied <= kept


def test_a_limit_that_is_hit_is_a_result_and_not_an_accident(timeline):
    played = replay(timeline, [Shape(8, 4000)], limit=300 * MIB)
    assert not played.fits
    assert played.peak_reserved <= 300 * MIB


def test_a_hundred_thousand_events_a_step_are_replayed_in_seconds(toys):
    timeline = toys(layers=12_000)
    start = time.perf_counter()
    played = replay(timeline, [Shape(1, 128)] * 2)
    assert len(played.allocated) > 100_000
    assert time.perf_counter() - start < 10, "a laptop's time with a margin of ten"
