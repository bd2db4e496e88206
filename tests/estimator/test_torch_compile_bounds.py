"""torch.compile is not modelled: the ranges say so. Liger kernels are refused."""

from __future__ import annotations

from typing import Any

import pytest

from advisor.errors import BadRequest, IllegalRecipe, UnknownName
from advisor.estimator.estimate import estimate
from advisor.estimator.estimate_request import from_case
from advisor.estimator.step_time.torch_compile_bounds import KEPT, NOTE, UNTOUCHED, as_compiled

CASE: dict[str, Any] = {
    "model": "meta-llama/Llama-3.2-1B", "gpu": "L40S", "method": "lora", "seq_len": 512, "samples": 100,
}  # fmt: skip


@pytest.fixture(scope="module")
def both() -> tuple[Any, Any]:
    return estimate(**CASE), estimate(**CASE, torch_compile=True)


@pytest.mark.slow
def test_compiled_ranges_hold_the_uncompiled_ones_and_reach_lower(both: tuple[Any, Any]):
    eager, compiled = both
    pairs = [(getattr(c.memory, name) for c in both) for name in ("peak_allocated", "peak_reserved", "peak_device")]
    pairs += [(eager.time.step, compiled.time.step), (eager.time.training, compiled.time.training)]
    for plain, wide in pairs:
        assert wide.low < plain.low
        assert (wide.mid, wide.high) == (plain.mid, plain.high)
        assert wide.basis == "assumed"
        assert "torch.compile" in wide.why
    assert compiled.time.tokens_per_second.high > eager.time.tokens_per_second.high


def test_what_the_training_costs_reaches_as_far_down_as_its_time(both: tuple[Any, Any]):
    eager, compiled = both
    saved = compiled.time.training.low / eager.time.training.low
    assert saved < 0.99
    plain, wide = ([c.money.on_demand, c.money.spot, *(offer.cost for offer in c.money.offers)] for c in both)
    assert len(plain) == len(wide) > 2
    for before, after in zip(plain, wide, strict=True):
        assert (after.mid, after.high, after.basis) == (before.mid, before.high, "assumed")
        assert after.low == pytest.approx(before.low * saved)


def test_compiling_saves_no_product_and_no_weights(both: tuple[Any, Any]):
    eager, compiled = both
    share = sum(eager.time.bound_by.get(name, 0) for name in UNTOUCHED)
    assert compiled.time.step.low == pytest.approx(eager.time.step.low * share)
    kept = sum(eager.memory.breakdown[name] for name in KEPT)
    assert compiled.memory.peak_allocated.low == pytest.approx(kept)
    assert kept > 2 * eager.total_parameters


def test_the_answer_says_that_compiling_is_not_modelled(both: tuple[Any, Any]):
    eager, compiled = both
    assert NOTE in compiled.assumptions
    assert NOTE not in eager.assumptions


def test_a_step_that_the_host_alone_bounds_takes_some_time_compiled(both: tuple[Any, Any]):
    eager, _ = both
    idle = eager.model_copy(update={"time": eager.time.model_copy(update={"bound_by": {"host": 1.0}})})
    compiled = as_compiled(idle)
    assert 0 < compiled.time.step.low < eager.time.step.low
    assert compiled.time.tokens_per_second.high > eager.time.tokens_per_second.high


def test_optimizers_are_checked_before_anything_is_built():
    with pytest.raises(IllegalRecipe, match="apollo_adamw"):
        estimate(**CASE, optimizer="apollo_adamw")
    with pytest.raises(UnknownName):
        estimate(**CASE, optimizer="adamv")


@pytest.mark.parametrize(("key", "value"), [("torch_compile", "perhaps"), ("use_liger_kernel", 3)])
def test_a_switch_that_is_neither_on_nor_off_is_refused(key: str, value: object):
    with pytest.raises(BadRequest, match=key):
        from_case({**CASE, key: value})
