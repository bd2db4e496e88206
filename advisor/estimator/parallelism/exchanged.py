"""Seconds a step waits for the other ranks: what its collectives take beyond the arithmetic that hides them.

Per unit, as the libraries overlap: gathers of the next layer behind the forward pass of this one, gathers and
reductions behind the backward pass; the first gather, the last reduction and what follows the step are waited for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from advisor.catalog.interconnects import Collective, Exchange
from advisor.domain.request.vocabulary import Sharding
from advisor.estimator.parallelism.layout import RankLayout
from advisor.estimator.parallelism.rank_timeline import Units

Seconds = tuple[float, float, float]
"""(low, likely, high)"""
LAST_BUCKET: Final = 25 * 2**20
"""Bytes of DistributedDataParallel's buckets, the last of which nothing hides.
Source: torch 2.13, torch/nn/parallel/distributed.py, bucket_cap_mb."""


@dataclass(frozen=True, slots=True)
class MicroBatchSeconds:
    """Seconds of a micro-batch's forward pass, loss included, and of its backward pass; micro-batches of a step."""

    forward: float
    backward: float
    micro_batches: int


def waited(
    sharding: Sharding, layout: RankLayout, units: Units, exchange: Exchange, work: MicroBatchSeconds
) -> Seconds:
    """Seconds of a step that no arithmetic hides."""
    low, mid, high = (_waited(sharding, layout, units, exchange, work, end) for end in range(3))
    return low, mid, high


def _waited(
    sharding: Sharding, layout: RankLayout, units: Units, exchange: Exchange, work: MicroBatchSeconds, end: int
) -> float:
    def takes(collective: Collective, size: float) -> float:
        return exchange.seconds(collective, size)[end] if size else 0.0

    trained = units.all_trained
    reduced = {unit: takes("reduce_scatter", size) for unit, size in units.trained.items()}
    if sharding == "ddp":
        whole = takes("all_reduce", trained)
        return max(whole - work.backward, takes("all_reduce", min(trained, LAST_BUCKET)))
    if sharding in ("zero1", "zero2"):
        reductions = sum(reduced.values())
        each = max(0.0, reductions - work.backward)
        back = takes("all_gather", trained)
        return each * (work.micro_batches if sharding == "zero2" else 1) + back
    gathered = {unit: takes("all_gather", size) for unit, size in units.whole.items()}
    gathers, first = sum(gathered.values()), next(iter(gathered.values()), 0.0)
    last = reduced[min(reduced)] if reduced else 0.0
    forward = first + max(0.0, gathers - first - work.forward)
    alone = max(0.0, gathers - work.backward)
    both = last + max(0.0, gathers + sum(reduced.values()) - last - work.backward)
    reduces = work.micro_batches if layout.reduces_each else 1
    return work.micro_batches * forward + reduces * both + (work.micro_batches - reduces) * alone
