"""Candidates made by hand: three numbers each, everything else the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from advisor.domain.candidate import Candidate, Memory, Money, Quality, Time
from advisor.domain.quantity import Quantity
from advisor.domain.recipe import Recipe
from advisor.domain.units import GIB
from advisor.domain.workload import Workload

HAND = "made by hand"


def quantity(mid: float, unit: str, half: float = 0.0) -> Quantity:
    return Quantity.model_validate(
        {"low": mid - half, "mid": mid, "high": mid + half, "unit": unit, "basis": "modelled", "why": HAND}
    )


def make_candidate(
    method: str,
    *,
    hours: float = 1.0,
    effect: float | None = 0.0,
    half: float = 1.0,
    gib: float = 20.0,
    studies: int = 5,
    mergeable: bool = True,
    usd_per_hour: float | None = 3.0,
    base: str = "dtype",
    micro: int = 4,
    limit_gib: float = 75.0,
) -> Candidate:
    """A candidate of `method` that trains for `hours`, is `effect` +- `half` points from full, peaks at `gib`."""
    room = quantity(gib * GIB, "B", half=0.02 * gib * GIB)
    training = quantity(hours * 3600, "s", half=0.1 * hours * 3600)
    quality = None
    if effect is not None:
        quality = Quality(
            effect=quantity(effect, "score", half), within_one_point=0.5, studies=studies, evidence=f"{studies} studies"
        )
    cost = None if usd_per_hour is None else training.times(usd_per_hour / 3600, "USD", HAND)
    return Candidate(
        workload=Workload(model="tiny", samples=1000),
        recipe=Recipe.model_validate(
            {"method": method, "base": base, "micro_batch_size": micro, "gradient_accumulation": max(1, 16 // micro)}
        ),
        gpu="h100-sxm-80gb",
        trainable_parameters=1000,
        total_parameters=10**9,
        memory=Memory(
            peak_allocated=room,
            peak_reserved=room,
            allocated_after_step=room,
            peak_device=room,
            breakdown={"base weights": int(gib * GIB)},
            peak_phase="backward",
        ),
        fits=gib <= limit_gib,
        limit_bytes=int(limit_gib * GIB),
        time=Time(
            step=training.times(1 / 188, "s", HAND),
            tokens_per_second=quantity(1000, "tokens/s"),
            training=training,
        ),
        money=Money(on_demand=cost),
        quality=quality,
        facts={"mergeable": mergeable},
    )


@pytest.fixture
def candidate() -> Callable[..., Candidate]:
    return make_candidate
