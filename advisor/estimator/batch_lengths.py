"""Which batches a run meets: their lengths for time, and their order for memory.

A plain `loop` is the one of peft's public benchmark: batches come from buckets of twenty, long ones first, and the
cache is emptied every ten steps, so the longest batch of all meets an emptied cache and the outputs of a short
batch before it. transformers' and TRL's trainers never empty the cache, so the longest batch comes on top of what
shorter ones left behind.

Source: method_comparison/MetaMathQA/run.py and utils.py of github.com/huggingface/peft.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from advisor.catalog.constants import load_constants
from advisor.domain.recipe import Recipe
from advisor.domain.trace.timeline import Floats
from advisor.domain.workload import Workload
from advisor.estimator.polynomials import gamma_lengths

EMPTY_CACHE: Final = "empty cache"
"""In a list of batches: `torch.cuda.empty_cache()` between two steps."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One micro-batch: B samples padded to S tokens, and to T target tokens in seq2seq tasks."""

    batch: int
    length: float
    target: float = 0.0


@dataclass(frozen=True, slots=True)
class BatchLengths:
    """Lengths of the batches of one run: [L] equally likely `typical` ones, with their targets, and the longest."""

    typical: Floats
    targets: Floats
    longest: float
    longest_target: float
    says: str


def lengths_of(workload: Workload, recipe: Recipe, *, points: int = 12) -> BatchLengths:
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
    return BatchLengths(typical, typical * (longest_target / longest), longest, longest_target, says)


def batches_of(lengths: BatchLengths, recipe: Recipe) -> list[Shape | str]:
    """The batches that memory is replayed over: the first, some typical ones, the longest."""
    batch = recipe.micro_batch_size
    longest = Shape(batch, lengths.longest, lengths.longest_target)
    if len(lengths.typical) == 1:
        return [longest, longest]
    typical = sorted(zip(lengths.typical.tolist(), lengths.targets.tolist(), strict=True), reverse=True)

    def at(share: float) -> Shape:
        """The batch that a share of all batches is longer than."""
        length, target = typical[round(share * (len(typical) - 1))]
        return Shape(batch, length, target)

    mean = Shape(batch, float(lengths.typical.mean()), float(lengths.targets.mean()))
    if recipe.trainer == "loop":
        return [at(0), mean, EMPTY_CACHE, mean, at(1), EMPTY_CACHE, longest]
    return [at(0.5), mean, at(0.15), longest]


MEAN_STEP = 1
"""Which of the steps of `batches_of` has the mean length: it says what is alive between two steps on average."""
