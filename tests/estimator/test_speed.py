"""What a reader is told of time: a range as wide as what is known of the device, the model and the kind of step."""

from __future__ import annotations

import numpy as np
import pytest

from advisor.catalog.constants import time_constants
from advisor.domain.hardware import Gpu
from advisor.domain.profile import Calibration, Coefficient
from advisor.domain.recipe import Recipe
from advisor.domain.trace.trace_schema import PHASES
from advisor.domain.workload import Workload
from advisor.estimator.batch_lengths import lengths_of
from advisor.estimator.measurements import POOLED
from advisor.estimator.step_time.step_simulator import BOUNDS, TIME_NAMES, default_time
from advisor.estimator.step_time.time_prediction import _unmeasured, constants_of, time_of

GPU = Gpu.model_validate(
    {
        "name": "x",
        "vendor": "v",
        "generation": "g",
        "memory_bytes": 2**36,
        "usable_bytes": 2**36,
        "bf16_flop_s": 1e14,
        "fp32_flop_s": 2e13,
        "bandwidth_bytes_s": 1e12,
    }
)
RECIPE = Recipe.model_validate({"method": "lora", "micro_batch_size": 4, "trainer": "loop"})


def workload(**fields):
    return Workload.model_validate({"model": "toy", "seq_len": 1024, **fields})


def timed(timeline, calibration=None, gpu=GPU, recipe=RECIPE, **fields):
    asked = workload(**fields)
    return time_of(timeline, lengths_of(asked, recipe), asked, recipe, gpu, calibration)


def calibration(**fields):
    return Calibration.model_validate(
        {"device": "x", "fitted_on": {"a": "0"}, "models": ("toy",), "time_interval": (-0.05, 0.05), **fields}
    )


def width(time):
    return (time.step.high - time.step.low) / time.step.mid


def test_a_fitted_constant_replaces_the_catalogues_and_the_rest_stay():
    fitted = constants_of(calibration(time=(Coefficient(name="bandwidth", value=0.5, unit="ratio"),)))
    changed = [name for name, a, b in zip(TIME_NAMES, fitted, default_time(), strict=True) if a != b]
    assert changed == ["bandwidth"]


def test_ranges_widen_with_what_the_fit_has_not_seen(timeline):
    own, _ = timed(timeline, calibration())
    other, _ = timed(timeline, calibration(models=("another",)))
    strange, _ = timed(timeline, calibration(largest_shares={"matmul": 0.01}))
    seen, _ = timed(timeline, calibration(largest_shares=dict.fromkeys(own.bound_by, 1.0)))
    none, _ = timed(timeline)
    assert width(own) == pytest.approx(0.1)
    assert width(seen) == pytest.approx(width(own))
    assert width(other) > width(own)
    assert width(strange) > 1.5 * width(own)
    assert "none bound so much by" in strange.step.why
    assert width(none) > width(other)
    assert (own.step.basis, none.step.basis) == ("calibrated", "modelled")


@pytest.mark.parametrize("device", ["x", POOLED])
def test_however_far_off_the_fitted_runs_were_a_step_takes_some_time(timeline, device):
    """Three runs of a busy machine may differ by more than their prediction: seconds below nought are no range."""
    far, _ = timed(timeline, calibration(device=device, time_interval=(-1.8, 1.8)), samples=100)
    assert 0 < far.step.low < 0.1 * far.step.mid
    assert far.step.high == pytest.approx(2.8 * far.step.mid)
    assert far.tokens_per_second.low < far.tokens_per_second.mid < far.tokens_per_second.high
    assert far.training.low > 0


def test_a_stand_in_rate_is_noted_and_widens(timeline):
    full, notes = timed(timeline)
    assert not notes
    without, notes = timed(timeline, gpu=GPU.model_copy(update={"fp32_flop_s": None}))
    assert "stands in" in notes[0]
    assert width(without) > width(full)


def test_training_is_steps_times_a_step(timeline):
    time, _ = timed(timeline, samples=1000, epochs=2.0, effective_batch_size=16)
    assert time.training.mid == pytest.approx(126 * time.step.mid), "63 batches an epoch, the last one incomplete"


def test_throughput_counts_padded_tokens(timeline):
    time, _ = timed(timeline)
    assert time.tokens_per_second.mid * time.step.mid == pytest.approx(4 * 1024)
    assert time.tokens_per_second.low <= time.tokens_per_second.mid <= time.tokens_per_second.high


def test_checkpointing_is_said_to_cost_no_more_than_the_backward_pass():
    """The forward pass again is a third of a backward that recomputes: of a step never more than its backward share."""
    from advisor.estimator.step_time.time_prediction import _advice

    shares = {"host": 0.0, "launches": 0.0, "transfers": 0.2, "bandwidth": 0.0}
    phases = np.zeros(len(PHASES))
    phases[PHASES.index("backward")] = 0.6
    recipe = RECIPE.model_copy(update={"gradient_checkpointing": True})
    first, second = _advice(shares, phases, recipe)
    assert "copies" in first, "0.2 of waiting weighs more than 0.15 of recomputing"
    assert "checkpointing" in second


def test_advice_follows_what_a_step_is_bound_by(maker):
    make = maker().where(2, "forward")
    for _ in range(2000):
        make.op("elementwise", moved=((2.0, 1, 1, 0),))
    time, _ = timed(make.timeline())
    assert "larger micro-batch" in time.advice[0]
    make = maker().where(2, "forward")
    make.op("matmul", flop=((1e10, 1, 1, 0),))
    make.where(2, "optimizer").op("foreach", moved=((1e12, 0, 0, 0),), dtype=1)
    time, _ = timed(make.timeline())
    assert any("optimizer" in line for line in time.advice)
    make = maker().where(2, "forward")
    make.op("matmul", flop=((1e10, 1, 1, 0),))
    time, _ = timed(make.timeline())
    assert time.advice == ()


@pytest.mark.parametrize("generation", ["Ampere", "Volta", "Hopper", ""])
def test_what_the_host_bounds_is_known_less_well(generation):
    """Nobody says what host a card has: the range grows with its share, and is never narrower than the device's."""
    ends: list[tuple[float, float]] = []
    for host, launches in ((0.0, 0.0), (0.3, 0.0), (0.3, 0.3), (1.0, 0.0)):
        shares = np.zeros(len(BOUNDS))
        shares[BOUNDS.index("host")], shares[BOUNDS.index("launches")] = host, launches
        ends.append(_unmeasured(generation, shares))
    constants = time_constants(generation)
    device, hosts = constants["time_error"], constants["host_time_error"]
    assert ends[0] == (device.value - device.low, device.high - device.value)
    assert ends[-1] == pytest.approx((1 - min(device.low, hosts.low), max(device.high, hosts.high) - 1))
    assert ends == sorted(ends)
