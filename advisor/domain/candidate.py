"""What the estimator says of one recipe on one machine: memory, time, money, quality."""

from __future__ import annotations

from datetime import date
from typing import Any

from pydantic import Field

from advisor.domain.hardware import Price
from advisor.domain.quantity import Quantity
from advisor.domain.recipe import Recipe
from advisor.domain.request.vocabulary import Sharding
from advisor.domain.stored import Value
from advisor.domain.workload import Workload

BREAKDOWN = (
    "base weights",
    "adapter",
    "gradients",
    "optimizer state",
    "saved activations",
    "logits and loss",
    "temporaries",
    "workspace",
    "context",
)
"""The parts of peak memory, in this order; they add up to `peak_device` (allocator slack is in `fragmentation`).

Beside them, where completions are generated, `key-value cache` at a peak there, and `vLLM` on the same card."""


class Memory(Value):
    """Bytes on one device. `peak_device` = `peak_reserved` + context: what nvidia-smi would show."""

    peak_allocated: Quantity
    peak_reserved: Quantity
    allocated_after_step: Quantity
    peak_device: Quantity
    breakdown: dict[str, int] = Field(description="BREAKDOWN and `fragmentation`, bytes at the moment of the peak")
    peak_phase: str = Field(description="where in the step the peak lies: forward, loss, ... optimizer, generation")


class Time(Value):
    """Seconds. `step` is one optimizer step (all its micro-batches); `training` all steps, `None` without samples."""

    step: Quantity
    tokens_per_second: Quantity
    generation: Quantity | None = Field(
        default=None, description="of `step`, what generates the completions it learns from"
    )
    training: Quantity | None = None
    on_spot: Quantity | None = Field(
        default=None,
        description="of the training on a spot machine, interruptions counted; None where nobody said how often",
    )
    phases: dict[str, float] = Field(default_factory=dict, description="seconds of a step by phase")
    bound_by: dict[str, float] = Field(default_factory=dict, description="share of a step: matmul, bandwidth ...")
    advice: tuple[str, ...] = Field((), description="what would speed the step up, largest first")

    def wall(self, *, spot: bool) -> Quantity | None:
        """Seconds of the training, on spot with its interruptions where these are known."""
        return self.on_spot if spot and self.on_spot is not None else self.training


class Offer(Value):
    """One priced way to rent the machine for this training."""

    price: Price
    spot: bool
    usd_per_hour: float
    cost: Quantity | None
    stale: bool
    read_on: date | None = Field(None, description="day on which this price was read; None: unknown")


class Money(Value):
    """USD of the whole training at the cheapest on-demand and spot offers; None where no price is known.

    Each with the day on which its price was read, None where that is unknown. `spot` is of `time.on_spot` where that
    is known, else of a training that is never interrupted, as its `why` says.
    """

    on_demand: Quantity | None = None
    on_demand_read_on: date | None = None
    spot: Quantity | None = None
    spot_read_on: date | None = None
    offers: tuple[Offer, ...] = ()
    note: str = ""

    def at(self, *, spot: bool) -> Quantity | None:
        """What is paid on demand, or at spot prices; a price of the user's own is what is paid either way."""
        own = any(offer.price.override for offer in self.offers)
        return self.spot if spot and not (own and self.spot is None) else self.on_demand


class Citation(Value):
    """One study behind a quality figure, and how far it moved it."""

    study: str
    url: str
    says: str
    weight: float


class Quality(Value):
    """Expected effect against full fine-tuning of the same model on the same data, in points (0-100 metric scale)."""

    effect: Quantity
    within_one_point: float = Field(ge=0, le=1, description="probability of being no worse than full by 1 point")
    studies: int = Field(ge=0)
    evidence: str = Field(description="one sentence: what it rests on, or that it rests on nothing")
    citations: tuple[Citation, ...] = ()
    warnings: tuple[str, ...] = ()


class SearchCost(Value):
    """A search around a recipe as `advisor tune` runs it, one training after another; seconds and USD of all of it.

    Low ends are of a search that is pruned, `trial` is one training with its scorings. None where no price is known, or
    for `on_spot` nobody said how often a machine is taken away.
    """

    trials: int = Field(ge=1)
    finals: int = Field(ge=0, description="trainings of the best again with other seeds, on top of the trials")
    trial: Quantity
    seconds: Quantity
    on_spot: Quantity | None = None
    usd: Quantity | None = None
    spot_usd: Quantity | None = None


class Candidate(Value):
    """One recipe on one machine, priced. `trainable_parameters` is peft's own count, exactly."""

    workload: Workload
    recipe: Recipe
    gpu: str
    gpu_count: int = 1
    nodes: int = 1
    sharding: Sharding | None = Field(None, description="how the job is spread over several devices")
    trainable_parameters: int
    total_parameters: int
    memory: Memory
    fits: bool
    limit_bytes: int
    time: Time
    money: Money
    quality: Quality | None = None
    search: SearchCost | None = Field(
        default=None, description="of so many trials around it, where these were asked for"
    )
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = Field(default=(), description="what harms the training; told in assumptions too")
    versions: dict[str, str] = Field(default_factory=dict, description="libraries the prediction holds for")
    facts: dict[str, Any] = Field(default_factory=dict, description="method facts for columns: mergeable, overhead ...")
