"""What a reader is told of memory: ranges by what is known of the device, parts that add up, batches in order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.domain.candidate import BREAKDOWN
from advisor.domain.hardware import Gpu
from advisor.domain.profile import Calibration, Coefficient
from advisor.domain.recipe import Recipe
from advisor.domain.request.vocabulary import TRAINERS
from advisor.domain.workload import Workload
from advisor.estimator.batch_lengths import EMPTY_CACHE, MEAN_STEP, Shape, batches_of, lengths_of
from advisor.estimator.memory.memory_prediction import memory_of, overheads_of

MIB = 2**20


def gpu(capability=8.9):
    return Gpu.model_validate(
        {
            "name": "x",
            "vendor": "nvidia",
            "generation": "g",
            "memory_bytes": 2**36,
            "usable_bytes": 2**36,
            "compute_capability": capability,
        }
    )


def recipe(**fields):
    return Recipe.model_validate({"method": "lora", "micro_batch_size": 2, "trainer": "loop", **fields})


def workload(**fields):
    return Workload.model_validate({"model": "toy", "seq_len": 800, "mean_seq_len": 200, **fields})


def calibration(**fields):
    return Calibration.model_validate(
        {"device": "x", "fitted_on": {"a": "0"}, "models": ("toy",), "memory_interval": (-0.01, 0.01), **fields}
    )


def width(quantity):
    return (quantity.high - quantity.low) / quantity.mid


@pytest.mark.parametrize(("capability", "mebibytes"), [(8.9, 8.125), (9.0, 32), (10.0, 32), (12.0, 32), (None, 8.125)])
def test_the_cublas_workspace_is_torchs_default_for_the_capability(capability, mebibytes):
    assert overheads_of(gpu(capability)).workspace == mebibytes * MIB


@settings(max_examples=20, deadline=None)
@given(trainer=st.sampled_from(TRAINERS), accumulation=st.sampled_from([1, 3]), thorough=st.booleans())
def test_the_parts_and_the_slack_add_up_to_the_device_peak(toys, trainer, accumulation, thorough):
    asked = recipe(trainer=trainer, gradient_accumulation=accumulation)
    fitted = calibration(memory=(Coefficient(name="reserved_scale", value=1.01, unit="ratio"),))
    lengths = lengths_of(workload(), asked)
    memory, _ = memory_of(toys(), lengths, asked, gpu(), fitted, thorough=thorough, model="toy")
    assert set(memory.breakdown) == {*BREAKDOWN, "fragmentation"}
    assert sum(memory.breakdown.values()) == pytest.approx(memory.peak_device.mid, abs=1)
    assert min(memory.breakdown.values()) >= 0
    assert memory.peak_allocated.mid <= memory.peak_reserved.mid
    assert memory.allocated_after_step.mid <= memory.peak_allocated.mid


def test_a_fit_narrows_the_range_for_its_models_and_never_below_the_usual_for_others(toys):
    asked = recipe()
    lengths = lengths_of(workload(), asked)
    own, _ = memory_of(toys(), lengths, asked, gpu(), calibration(), model="toy")
    other, _ = memory_of(toys(), lengths, asked, gpu(), calibration(), model="another")
    none, _ = memory_of(toys(), lengths, asked, gpu(), None, model="toy")
    assert width(own.peak_reserved) == pytest.approx(0.02)
    assert width(other.peak_reserved) >= width(none.peak_reserved) > width(own.peak_reserved)
    assert "range widened" in other.peak_reserved.why
    assert (own.peak_reserved.basis, none.peak_reserved.basis) == ("calibrated", "modelled")


def test_a_measured_context_stands_in_for_the_assumed_one():
    measured = calibration(memory=(Coefficient(name="context", value=600 * MIB, error=10 * MIB, unit="B"),))
    assert overheads_of(gpu()).context.basis == "assumed"
    context = overheads_of(gpu(), measured).context
    assert (context.basis, context.mid, context.low) == ("calibrated", 600 * MIB, 580 * MIB)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_every_trainer_meets_its_longest_batch_last_and_a_mean_one_second(trainer):
    asked = recipe(trainer=trainer)
    lengths = lengths_of(workload(), asked)
    batches = batches_of(lengths, asked)
    shapes = [b for b in batches if isinstance(b, Shape)]
    assert shapes[-1].length == 800
    assert shapes[MEAN_STEP].length == pytest.approx(200)
    assert (EMPTY_CACHE in batches) == (trainer == "loop")
    assert max(s.length for s in shapes) == 800


def test_packed_batches_are_all_of_full_length():
    assert lengths_of(workload(), recipe(batching="packed")).typical.tolist() == [800]
    assert lengths_of(workload(mean_seq_len=None), recipe()).typical.tolist() == [800]


def test_targets_grow_with_their_inputs():
    lengths = lengths_of(workload(task="seq2seq", target_len=400), recipe())
    assert lengths.targets.tolist() == pytest.approx((lengths.typical / 2).tolist())
