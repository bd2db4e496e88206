"""What can be said of a step under `torch.compile`, which is not modelled: where it must lie between.

Compiling fuses small ops, saves launches and lets the host run ahead; it makes no product and no attention cheaper,
and keeps weights, gradients and optimizer state. So the eager step is the upper end, and what fusion cannot touch
the lower one. Recompilation for each new length is not in it.
"""

from __future__ import annotations

from typing import Final

from advisor.domain.candidate import Candidate, Memory, Money, Time
from advisor.domain.quantity import Quantity
from advisor.estimator.step_time.time_prediction import MOST_BELOW

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
    untouched = sum(candidate.time.bound_by.get(name, 0.0) for name in UNTOUCHED)
    # a step that the host alone bounds takes some time too, however it is compiled
    share = min(1.0, max(1 - MOST_BELOW, untouched))
    return candidate.model_copy(
        update={
            "time": _time(candidate.time, share),
            "memory": _memory(candidate.memory),
            "money": _money(candidate.money, share),
            "assumptions": (*candidate.assumptions, NOTE),
        }
    )


def _time(time: Time, share: float) -> Time:
    rate = time.tokens_per_second
    return time.model_copy(
        update={
            "step": _shrunk(time.step, share),
            "tokens_per_second": rate.model_copy(update={"high": rate.high / share, "basis": "assumed"}),
            "training": _shrunk(time.training, share),
            "on_spot": _shrunk(time.on_spot, share),
        }
    )


def _money(money: Money, share: float) -> Money:
    """Costs go with the time of the training."""
    offers = tuple(offer.model_copy(update={"cost": _shrunk(offer.cost, share)}) for offer in money.offers)
    return money.model_copy(
        update={
            "on_demand": _shrunk(money.on_demand, share),
            "spot": _shrunk(money.spot, share),
            "offers": offers,
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


def _shrunk(quantity: Quantity | None, share: float) -> Quantity | None:
    return None if quantity is None else _lowered(quantity, quantity.low * share)


def _lowered(quantity: Quantity, low: float) -> Quantity:
    """The same with a lower end no higher than `low`, and no surer than assumed."""
    low = min(quantity.low, low)
    return quantity.model_copy(
        update={"low": low, "basis": "assumed", "why": f"{quantity.why}; torch.compile is not modelled"}
    )
