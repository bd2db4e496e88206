"""Reserved memory under a card's limit: a fit keeps to it, more room never hurts, growing segments never need more."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from advisor.catalog.constants import load_constants
from advisor.domain.hardware import Gpu
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.errors import BadRequest
from advisor.estimator.batch_lengths import lengths_of
from advisor.estimator.memory import reserved_memory
from advisor.estimator.memory.memory_prediction import fits_in, memory_of, overheads_of

MIB = 2**20
CARD = {"name": "x", "vendor": "nvidia", "generation": "g", "memory_bytes": 2**36, "usable_bytes": 2**36}
GPU = Gpu.model_validate(CARD)
CONTEXT = overheads_of(GPU).context.mid


def memory(timeline, *, limit=None, batch=4, mean=None, seq_len=2000, samples=None, gpu=GPU, **fields):
    recipe = Recipe.model_validate({"method": "lora", "micro_batch_size": batch, **fields})
    asked = Workload.model_validate({"model": "toy", "seq_len": seq_len, "mean_seq_len": mean, "samples": samples})
    return memory_of(timeline, lengths_of(asked, recipe), recipe, gpu, limit=limit)


asked_of = st.fixed_dictionaries(
    {
        "mean": st.none() | st.floats(50, 2000),
        "batch": st.integers(1, 8),
        "gradient_accumulation": st.sampled_from([1, 4]),
        "trainer": st.sampled_from(["hf", "trl", "loop"]),
        "batching": st.sampled_from(["padded", "grouped", "packed", "padding-free"]),
    }
)


@settings(max_examples=40, deadline=None)
@given(asked=asked_of, share=st.floats(0.5, 1.2), expandable=st.booleans())
def test_what_fits_keeps_to_the_limit_and_what_does_not_is_above_it(toys, asked, share, expandable):
    timeline = toys()
    free, _ = memory(timeline, expandable_segments=expandable, **asked)
    limit = int(free.peak_device.mid * share)
    assume(limit > CONTEXT)
    found, _ = memory(timeline, limit=limit, expandable_segments=expandable, **asked)
    fits = found.peak_device.mid <= limit
    assert found.peak_allocated.mid == free.peak_allocated.mid
    assert found.peak_allocated.mid <= found.peak_reserved.mid
    assert sum(found.breakdown.values()) == pytest.approx(found.peak_device.mid, abs=1)
    if share >= 1:
        assert fits
    if not fits:
        assert found.peak_reserved.mid > limit - CONTEXT
    else:
        assert found.peak_reserved.high <= max(limit - CONTEXT, found.peak_reserved.mid) + 1
        assert found.peak_allocated.high <= max(limit - CONTEXT, found.peak_allocated.mid) + 1


@settings(max_examples=30, deadline=None)
@given(asked=asked_of, shares=st.tuples(st.floats(0.5, 1.1), st.floats(0.5, 1.1)), expandable=st.booleans())
def test_a_larger_limit_never_turns_fits_into_not_fits(toys, asked, shares, expandable):
    timeline = toys()
    need = memory(timeline, expandable_segments=expandable, **asked)[0].peak_device.mid
    small, large = (int(need * share) for share in sorted(shares))
    assume(small > CONTEXT)

    def fits(limit):
        return memory(timeline, limit=limit, expandable_segments=expandable, **asked)[0].peak_device.mid <= limit

    assert fits(large) or not fits(small)


@settings(max_examples=30, deadline=None)
@given(asked=asked_of, share=st.none() | st.floats(0.6, 1.2))
def test_expandable_segments_never_reserve_more_and_allocate_the_same(toys, asked, share):
    timeline = toys()
    free = memory(timeline, **asked)[0].peak_device.mid
    limit = None if share is None else int(free * share)
    assume(limit is None or limit > CONTEXT)
    plain, _ = memory(timeline, limit=limit, **asked)
    grown, notes = memory(timeline, limit=limit, expandable_segments=True, **asked)
    assert grown.peak_reserved.mid <= plain.peak_reserved.mid
    assert grown.peak_allocated.mid == plain.peak_allocated.mid
    if limit is not None and plain.peak_device.mid <= limit:
        assert grown.peak_device.mid <= limit
    assert not notes or "expandable segments" in notes[0] or "find no room" in notes[0]


@settings(max_examples=30, deadline=None)
@given(asked=asked_of, shorter=st.floats(0.1, 0.99), samples=st.none() | st.integers(10, 10**5))
def test_shorter_samples_never_need_more_allocated(toys, asked, shorter, samples):
    timeline = toys()
    asked = {**asked, "mean": asked["mean"] or 1500.0, "samples": samples}
    longer_mean, _ = memory(timeline, **asked)
    shorter_mean, _ = memory(timeline, **{**asked, "mean": asked["mean"] * shorter})
    fixed, _ = memory(timeline, **{**asked, "mean": None})
    slack = 16 * MIB
    assert shorter_mean.peak_allocated.mid <= longer_mean.peak_allocated.mid + slack
    assert longer_mean.peak_allocated.mid <= fixed.peak_allocated.mid + slack


def test_varying_lengths_reserve_more_than_one_length_and_say_so(toys):
    timeline = toys(scale=8)
    fixed, nothing = memory(timeline)
    varying, notes = memory(timeline, mean=500)
    grouped, _ = memory(timeline, mean=500, batching="grouped")
    assert not nothing
    assert varying.peak_reserved.mid > 1.1 * fixed.peak_reserved.mid
    assert grouped.peak_reserved.mid < varying.peak_reserved.mid
    assert "cached blocks after 1,000 batches" in notes[0]
    width = [(m.peak_reserved.high - m.peak_reserved.low) / m.peak_reserved.mid for m in (fixed, varying)]
    assert width[1] > width[0]


def test_under_a_tight_limit_the_cache_is_given_back_and_a_late_failure_is_told(toys):
    timeline = toys(scale=8)
    free, _ = memory(timeline, mean=500)
    told = []
    for share in range(100, 60, -2):
        limit = int(free.peak_reserved.mid * share / 100 + CONTEXT)
        found, notes = memory(timeline, mean=500, limit=limit)
        if found.peak_device.mid <= limit < free.peak_device.mid:
            told.append("gives")
            assert "then gives cached blocks back" in notes[0]
        elif found.peak_allocated.mid + CONTEXT <= limit < free.peak_device.mid:
            told.append("late")
            assert "find no room" in notes[0]
    assert "gives" in told


@pytest.mark.parametrize("thorough", [True, False])
@pytest.mark.parametrize("mean", [None, 500.0])
def test_another_allocator_than_cudas_widens_what_is_reserved_and_leaves_the_context_alone(toys, mean, thorough):
    recipe = Recipe.model_validate({"method": "lora", "micro_batch_size": 4})
    lengths = lengths_of(Workload.model_validate({"model": "toy", "seq_len": 2000, "mean_seq_len": mean}), recipe)
    timeline = toys(scale=8)
    usual = load_constants("memory")["fragmentation"].high
    plain, own = (
        memory_of(timeline, lengths, recipe, Gpu.model_validate({**CARD, "vendor": vendor}), thorough=thorough)[0]
        for vendor in ("amd", "apple")
    )
    assert own.peak_allocated == plain.peak_allocated
    assert own.peak_reserved.mid == plain.peak_reserved.mid
    assert own.peak_reserved.low == min(plain.peak_reserved.low, plain.peak_allocated.low)
    assert own.peak_reserved.high == pytest.approx(usual * plain.peak_reserved.high)
    for end in ("low", "high"):
        moved = getattr(own.peak_reserved, end) - getattr(plain.peak_reserved, end)
        assert getattr(own.peak_device, end) - getattr(plain.peak_device, end) == pytest.approx(moved)


def test_growing_segments_are_judged_without_asking_what_the_others_would_need(toys, monkeypatch):
    timeline = toys(scale=8)
    recipe = Recipe.model_validate({"method": "lora", "micro_batch_size": 4, "expandable_segments": True})
    lengths = lengths_of(Workload.model_validate({"model": "toy", "seq_len": 2000, "mean_seq_len": 500.0}), recipe)
    need = memory_of(timeline, lengths, recipe, GPU)[0].peak_device.mid
    monkeypatch.setattr(reserved_memory, "replay_long", None)
    assert fits_in(toys(scale=8), lengths, recipe, GPU, None, int(1.05 * need))
    assert not fits_in(toys(scale=8), lengths, recipe, GPU, None, int(0.5 * need))


def test_a_limit_below_the_context_is_refused(toys):
    with pytest.raises(BadRequest, match="CUDA context alone"):
        memory(toys(), limit=int(CONTEXT) - 1)


@settings(max_examples=30, deadline=None)
@given(asked=asked_of, share=st.floats(0.6, 1.1), expandable=st.booleans())
def test_the_quick_answer_on_fit_is_that_of_the_whole_prediction(toys, asked, share, expandable):
    timeline, asked = toys(), {**asked, "expandable_segments": expandable}
    limit = int(memory(timeline, **asked)[0].peak_device.mid * share)
    assume(limit > CONTEXT)
    recipe = Recipe.model_validate(
        {
            "method": "lora",
            "micro_batch_size": asked["batch"],
            **{k: v for k, v in asked.items() if k not in ("batch", "mean")},
        }
    )
    lengths = lengths_of(
        Workload.model_validate({"model": "toy", "seq_len": 2000, "mean_seq_len": asked["mean"]}), recipe
    )
    whole, _ = memory(timeline, limit=limit, **asked)
    assert fits_in(timeline, lengths, recipe, GPU, None, limit) == (whole.peak_device.mid <= limit)
