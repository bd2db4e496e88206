"""Candidates made by hand: three numbers each, everything else the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

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


class TextbookCosts:
    """An estimator in a few lines: weights, states and activations by rule of thumb, a table of qualities."""

    BYTES: ClassVar = {"dtype": 2.0, "int8": 1.0, "nf4": 0.56}
    EFFECT: ClassVar = {"full": 0.0, "lora": -0.4, "qlora": -0.6, "dora": -0.3, "prompt-tuning": -6.0, "ia3": -2.0}

    def __init__(self, *, price_usd: float | None = 3.0) -> None:
        self.price_usd = price_usd
        self.asked: list[tuple[str, str, bool, int]] = []

    def _bytes(self, workload, recipe, spec) -> float:
        each = 4.0 if recipe.base == "dtype" and recipe.dtype == "float32" else 2.0
        base = spec.parameters * (each if recipe.base == "dtype" else self.BYTES[recipe.base])
        moments = 2.0 if "8bit" in recipe.optimizer else (3 if recipe.optimizer == "stable_adamw" else 2) * each
        states = spec.parameters * ((each + moments) if recipe.method == "full" else 0.01)
        kept = 2 if recipe.gradient_checkpointing else 34
        return base + states + recipe.micro_batch_size * workload.seq_len * spec.hidden * spec.layers * kept

    def price(self, workload, recipe, hardware, spec, *, thorough=True) -> Candidate:
        self.asked.append((recipe.method, recipe.base, recipe.gradient_checkpointing, recipe.micro_batch_size))
        size = self._bytes(workload, recipe, spec)
        work = 6.0 if recipe.method == "full" else 4.2
        work *= (4 / 3 if recipe.gradient_checkpointing else 1) * (1.4 if recipe.base != "dtype" else 1)
        tokens = workload.effective_batch_size * workload.mean_length
        step = tokens * work * spec.parameters / 4e14 + recipe.gradient_accumulation * 0.01
        steps = workload.optimizer_steps()
        made = make_candidate(
            recipe.method,
            hours=(steps or 188) * step / 3600,
            gib=size / GIB,
            limit_gib=hardware.limit_bytes / GIB,
            mergeable=recipe.method != "prompt-tuning",
            usd_per_hour=self.price_usd,
            effect=None,
        )
        update = {
            "workload": workload,
            "recipe": recipe,
            "gpu": hardware.gpu.name,
            "total_parameters": spec.parameters,
            "limit_bytes": hardware.limit_bytes,
            "fits": size <= hardware.limit_bytes,
        }
        if steps is None:
            update["time"] = made.time.model_copy(update={"training": None})
            update["money"] = Money()
        made = made.model_copy(update=update)
        if workload.samples is None:
            return made
        return made.model_copy(update={"quality": self.quality(made, spec, workload.samples)})

    def largest_micro_batch(self, workload, recipe, hardware, spec, at_most) -> int | None:
        for size in range(at_most, 0, -1):
            tried = recipe.model_copy(update={"micro_batch_size": size})
            if at_most % size == 0 and self._bytes(workload, tried, spec) <= hardware.limit_bytes:
                return size
        return None

    def quality(self, candidate, spec, samples) -> Quality:
        effect = self.EFFECT.get(candidate.recipe.method, -1.0)
        if samples is not None and samples < 500 and candidate.recipe.method != "full":
            effect -= 12
        half = 0.0 if candidate.recipe.method == "full" else 2.0
        known = 0 if candidate.recipe.method not in self.EFFECT else 4
        return Quality(effect=quantity(effect, "score", half), within_one_point=0.6, studies=known, evidence="by hand")


@pytest.fixture
def costs() -> TextbookCosts:
    return TextbookCosts()


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    """No network, and nobody's own catalogue or cache."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path))
