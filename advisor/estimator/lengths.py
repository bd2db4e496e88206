"""Which batches a run meets: their lengths for time, and their order for memory.

A plain `loop` is the one of peft's public benchmark: the cache is emptied every few steps, so the longest batch
meets an allocator without leftovers of shorter ones. transformers' and TRL's trainers never empty it, so the
longest batch comes on top of what shorter ones left behind.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from advisor.domain.recipe import Recipe
from advisor.domain.timeline import Floats
from advisor.domain.workload import Workload
from advisor.estimator.constants import load_constants
from advisor.estimator.replay import EMPTY_CACHE, Shape
from advisor.estimator.sizes import gamma_lengths


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths of the batches of one run: [L] equally likely `typical` ones, with their targets, and the longest."""

    typical: Floats
    targets: Floats
    longest: float
    longest_target: float
    says: str


def lengths_of(workload: Workload, recipe: Recipe, *, points: int = 8) -> Lengths:
    """The lengths a workload's batches have under a recipe.

    Packed batches are all as long as `seq_len`. Else lengths follow a gamma law around the mean. Targets of
    seq2seq tasks grow with their inputs.
    """
    longest = float(workload.seq_len)
    longest_target = float(workload.target_len or 0)
    if recipe.batching == "packed" or workload.mean_length >= longest:
        typical = np.array([longest])
        says = "every batch is as long as the longest sample"
    else:
        shape = load_constants("time")["length_shape"].value
        typical = gamma_lengths(workload.mean_length, longest, shape, points)
        says = f"batch lengths follow a gamma law of shape {shape:g} around {workload.mean_length:g} tokens"
    return Lengths(typical, typical * (longest_target / longest), longest, longest_target, says)


def batches_of(lengths: Lengths, recipe: Recipe) -> list[Shape | str]:
    """The batches that memory is replayed over: the first, some typical ones, the longest."""
    batch = recipe.micro_batch_size
    longest = Shape(batch, lengths.longest, lengths.longest_target)
    if len(lengths.typical) == 1:
        return [longest, longest]
    picked = [int(q * (len(lengths.typical) - 1)) for q in (0.5, 0.25, 0.85)]
    before = [Shape(batch, float(lengths.typical[i]), float(lengths.targets[i])) for i in picked]
    if recipe.trainer == "loop":
        mean = Shape(batch, float(lengths.typical.mean()), float(lengths.targets.mean()))
        return [mean, mean, EMPTY_CACHE, longest]
    return [*before, longest]
