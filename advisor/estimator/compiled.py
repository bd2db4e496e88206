"""What can be said of a step under `torch.compile`, which is not modelled: where it must lie between.

Compiling fuses small ops, saves launches and lets the host run ahead; it makes no product and no attention cheaper,
and keeps weights, gradients and optimizer state. So the eager step is the upper end, and what fusion cannot touch
the lower one. Recompilation for each new length is not in it.
"""

from __future__ import annotations

from typing import Final

from advisor.domain.candidate import Candidate, Memory, Time
from advisor.domain.quantity import Quantity

UNTOUCHED: Final = ("matmul", "attention", "transfers")
"""Bounds of a step's seconds that no fusion removes."""
KEPT: Final = ("base weights", "adapter", "gradients", "optimizer state", "workspace")
"""Parts of the peak that stay, however activations are recomputed or fused."""
NOTE: Final = (
    "torch.compile is not modelled: upper ends are of the uncompiled step, lower ends what no fusion can save; "
    "each new length may compile anew, which is not counted"
)


def as_compiled(candidate: Candidate) -> Candidate:
    """The candidate with ranges that also hold for its compiled form."""
    assumptions = (*candidate.assumptions, NOTE)
    return candidate.model_copy(
        update={
            "time": _time(candidate.time),
            "memory": _memory(candidate.memory),
            "assumptions": assumptions,
        }
    )


def _time(time: Time) -> Time:
    share = sum(time.bound_by.get(name, 0.0) for name in UNTOUCHED)
    step = _lowered(time.step, time.step.low * share)
    scale = step.low / time.step.low
    rate = time.tokens_per_second
    return time.model_copy(
        update={
            "step": step,
            "tokens_per_second": rate.model_copy(update={"high": rate.high / scale, "basis": "assumed"}),
            "training": None if time.training is None else _lowered(time.training, time.training.low * scale),
        }
    )


def _memory(memory: Memory) -> Memory:
    kept = float(sum(memory.breakdown.get(part, 0) for part in KEPT))
    context = memory.peak_device.low - memory.peak_reserved.low
    return memory.model_copy(
        update={
            "peak_allocated": _lowered(memory.peak_allocated, kept),
            "peak_reserved": _lowered(memory.peak_reserved, kept),
            "peak_device": _lowered(memory.peak_device, kept + context),
        }
    )


def _lowered(quantity: Quantity, low: float) -> Quantity:
    """The same with a lower end no higher than `low`, and no surer than assumed."""
    low = min(quantity.low, low)
    return quantity.model_copy(
        update={"low": low, "basis": "assumed", "why": f"{quantity.why}; torch.compile is not modelled"}
    )
