"""The search for the largest batch, against devices whose answer is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.profiler.largest_batch import MOST, largest_batch, probe
from advisor.profiler.measure_run import as_profile
from tests.profiler.conftest import make_job

JOB = make_job(batch_size=1)


def device_that_holds(most, tried):
    def run(job):
        batch = job.recipe.micro_batch_size
        tried.append(batch)
        return as_profile(job, {}, status="complete" if batch <= most else "oom")

    return run


@given(st.integers(0, MOST - 1), st.sampled_from([1, 3, 8, 100]))
def test_the_largest_batch_is_found_and_the_next_was_seen_to_fail(most, start):
    tried: list[int] = []
    found = largest_batch(make_job(batch_size=start), device_that_holds(most, tried))
    assert found.fits == most
    assert found.fails == most + 1
    assert found.reason == ""


@given(st.integers(0, MOST - 1))
def test_no_batch_is_tried_twice_and_few_are_tried(most):
    tried: list[int] = []
    found = largest_batch(JOB, device_that_holds(most, tried))
    assert len(set(tried)) == len(tried) == found.probes <= 2 * MOST.bit_length()


def test_a_device_that_holds_anything_is_not_asked_for_ever():
    tried: list[int] = []
    found = largest_batch(JOB, device_that_holds(10**9, tried))
    assert (found.fits, found.fails) == (MOST, None)
    assert str(MOST) in found.reason


def test_a_probe_that_fails_otherwise_ends_the_search_with_its_reason():
    def run(job):
        small = job.recipe.micro_batch_size < 4
        return as_profile(job, {}, status="complete" if small else "failed", reason="" if small else "a kernel broke")

    found = largest_batch(JOB, run)
    assert (found.fits, found.fails) == (2, None)
    assert "a kernel broke" in found.reason


def test_a_search_that_ran_out_of_time_says_how_far_it_came():
    answers = iter([as_profile(JOB, {}, status="complete"), None])
    found = largest_batch(JOB, lambda job: next(answers))
    assert (found.fits, found.fails, found.probes, found.reason) == (1, None, 1, "time ran out")


@pytest.mark.parametrize("batch", [1, 7])
def test_a_probe_differs_from_its_run_only_in_batch_and_length(batch):
    made = probe(make_job(batch_size=5, campaign={"evaluation": True, "saving": True}), batch)
    assert made.recipe.micro_batch_size == made.workload.effective_batch_size == batch
    assert (made.steps, made.evaluation_batch_size, made.saving) == (1, 0, False)
    assert made.recipe.model_copy(update={"micro_batch_size": 5}) == make_job(batch_size=5).recipe
