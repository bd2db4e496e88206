"""A long training's reserved memory: the fast pools equal the recorded allocator, and records stand for all batches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.estimator.batch_lengths import Shape
from advisor.estimator.memory.long_replay import replay_long
from advisor.estimator.memory.replay import replay
from advisor.estimator.memory.step_program import StepProgram
from advisor.tracer.timelines import timeline_of
from advisor.tracer.trace import trace

MIB = 2**20
WORKSPACE = 8 * MIB


@pytest.fixture(scope="module")
def traced():
    """The step of a tiny model, once for each pair of method and trainer."""
    from advisor.catalog.models import resolve_model

    known = {}

    def of(method, trainer):
        if (method, trainer) not in known:
            recipe = Recipe.model_validate({"method": method, "trainer": trainer, "micro_batch_size": 4})
            workload = Workload.model_validate({"model": "EleutherAI/pythia-14m"})
            line = timeline_of(trace(resolve_model("EleutherAI/pythia-14m"), workload, recipe))
            known[method, trainer] = line, StepProgram(line, WORKSPACE)
        return known[method, trainer]

    return of


lengths = st.lists(st.integers(1, 2000), min_size=2, max_size=8)


@pytest.mark.parametrize("holds", [True, False])
@pytest.mark.parametrize("zero_after", [True, False])
@pytest.mark.parametrize("accumulation", [1, 2])
@settings(max_examples=10, deadline=None)
@given(chosen=lengths)
def test_pools_reserve_what_the_recorded_allocator_does(toys, holds, zero_after, accumulation, chosen):
    timeline = toys(holds_outputs=holds, zero_after=zero_after)
    shapes = [Shape(2, float(length)) for length in chosen]
    recorded = replay(timeline, shapes, accumulation=accumulation, workspace_bytes=WORKSPACE)
    each = [shape for shape in shapes for _ in range(accumulation)]
    played = replay_long(StepProgram(timeline, WORKSPACE), each, accumulation=accumulation)
    assert played.peak == played.left == recorded.peak_reserved
    assert played.failed is None
    assert len(played.reserved) == len(each)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "trainer"), [("full", "hf"), ("lora", "trl"), ("ia3", "loop")])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_pools_reserve_what_the_recorded_allocator_does_for_a_traced_model(traced, method, trainer, accumulation):
    line, program = traced(method, trainer)
    shapes = [Shape(4, length) for length in (200.0, 513.0, 90.0, 700.0, 701.0, 33.0)]
    recorded = replay(line, shapes, accumulation=accumulation, workspace_bytes=WORKSPACE)
    each = [shape for shape in shapes for _ in range(accumulation)]
    assert replay_long(program, each, accumulation=accumulation).peak == recorded.peak_reserved


@settings(max_examples=25, deadline=None)
@given(chosen=lengths, share=st.floats(0.5, 1.1))
def test_under_a_limit_a_pool_fails_where_the_recorded_allocator_does(toys, chosen, share):
    timeline = toys()
    shapes = [Shape(2, float(length)) for length in chosen]
    limit = int(replay(timeline, shapes).peak_reserved * share)
    program = StepProgram(timeline)
    played = replay_long(program, shapes, limit=limit)
    assert played.peak <= limit
    # the segments of small blocks are set aside from the start, which a page or two may decide
    if played.failed is None:
        assert replay(timeline, shapes, limit=limit + 8 * MIB).fits
    if replay(timeline, shapes, limit=limit).fits:
        assert replay_long(program, shapes, limit=limit + 8 * MIB).failed is None


@settings(max_examples=25, deadline=None)
@given(chosen=lengths, share=st.floats(0.3, 1.0), accumulation=st.sampled_from([1, 2]))
def test_the_batch_that_fails_is_the_one_without_which_the_run_ends(traced, chosen, share, accumulation):
    """Of full fine-tuning the optimizer's first step may be what fails, after the batch itself has passed."""
    _, program = traced("full", "hf")
    shapes = [Shape(4, float(length)) for length in chosen]
    limit = int(replay_long(program, shapes, accumulation=accumulation).peak * share)
    found = replay_long(program, shapes, accumulation=accumulation, limit=limit)
    if found.failed is None:
        return
    assert 0 <= found.failed < len(shapes)
    assert len(found.reserved) == found.failed
    if accumulation == 1:
        before = shapes[: found.failed]
        assert not before or replay_long(program, before, limit=limit).failed is None
        assert replay_long(program, shapes[: found.failed + 1], limit=limit).failed == found.failed


@pytest.mark.slow
@pytest.mark.parametrize(("method", "trainer"), [("full", "hf"), ("lora", "hf"), ("lora", "trl")])
@pytest.mark.parametrize("seed", [0, 1])
def test_batches_longer_than_all_before_stand_for_the_whole_run(traced, method, trainer, seed):
    _, program = traced(method, trainer)
    chosen = np.ceil(np.random.default_rng(seed).gamma(4, 200, size=40))
    records = chosen[chosen > np.append(0, np.maximum.accumulate(chosen)[:-1])]
    whole = replay_long(program, [Shape(4, length) for length in chosen])
    few = replay_long(program, [Shape(4, length) for length in records])
    assert len(records) < 12
    assert few.peak == pytest.approx(whole.peak, rel=0.03)
