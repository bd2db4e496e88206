"""Which batches a run meets: their lengths for time, and their order for memory.

A plain `loop` is the one of peft's public benchmark: batches come from buckets of twenty, long ones first, and the
cache is emptied every ten steps, so the longest batch of all meets an emptied cache and the outputs of a short
batch before it. transformers' and TRL's trainers never empty the cache, so the longest batch comes on top of what
thousands of shorter ones left behind.

Of those thousands few matter to the allocator. A batch no longer than one before it finds the cached blocks of that
one; a batch longer than all before it, a record, finds each a little too small. Of N batches in random order
about ln N + 0.58 are records, and -ln(share of longer batches) of each is one draw of a Poisson process of rate 1.

Shapes here: L lengths, R batches that are longer than all before them.
Source: method_comparison/MetaMathQA/run.py and utils.py of github.com/huggingface/peft.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from advisor.catalog.constants import load_constants
from advisor.domain.recipe import Recipe
from advisor.domain.trace.timeline import Floats
from advisor.domain.workload import Workload
from advisor.estimator.length_laws import Law, gamma_law, longest_of, middle, sum_of

EMPTY_CACHE: Final = "empty cache"
"""In a list of batches: `torch.cuda.empty_cache()` between two steps."""
USUAL_BATCHES: Final = 1000
"""Micro-batches of a run whose number of samples is not known: the number is ours, and only its logarithm counts."""
EULER: Final = 0.577
"""Of N draws in random order, ln N + EULER are expected to be larger than all before them."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One micro-batch: B samples padded to S tokens, and to T target tokens in seq2seq tasks."""

    batch: int
    length: float
    target: float = 0.0


@dataclass(frozen=True, slots=True)
class BatchLengths:
    """Lengths of the batches of one run: [L] equally likely `typical` ones for time, with their targets.

    For memory: [L] equally likely `sizes` of micro-batches of `rows` rows, and `longest`, which decides allocated
    memory, between `longest_low` and `longest_high`. Where batches are padding-free, `rows` is 1 and a size counts
    all tokens of a batch. `rising` [R]: batches longer than all before, of a typical order of `batches` of them; the
    last is the longest. `rarity` [R]: one batch in so many is as long.
    """

    typical: Floats
    targets: Floats
    longest: float
    longest_target: float
    says: str
    sizes: Floats
    rows: int
    longest_low: float
    longest_high: float
    batches: int
    rising: Floats
    rarity: Floats

    @property
    def vary(self) -> bool:
        """Whether batches differ in length."""
        return len(self.sizes) > 1

    @property
    def largest(self) -> Shape:
        """The batch that decides allocated memory."""
        return self.shape(self.longest)

    def shape(self, length: float) -> Shape:
        """A batch of so many tokens a row; targets of seq2seq tasks grow with their inputs."""
        return Shape(self.rows, length, length * (self.longest_target / self.longest))


def lengths_of(workload: Workload, recipe: Recipe, *, points: int = 12) -> BatchLengths:
    """The lengths a workload's batches have under a recipe.

    Packed batches are all as long as `seq_len`. Padded ones are as long as their longest sample: drawn from the
    data's own lengths where those are known, else from a gamma law around the mean. Padding-free ones are one row
    of all their tokens, whose longest is the most that so many batches are likely to hold.
    """
    longest, batch = float(workload.seq_len), recipe.micro_batch_size
    free = recipe.batching == "padding-free"
    batches = USUAL_BATCHES
    if workload.samples is not None:
        batches = max(2, round(workload.samples * workload.epochs / batch))
    law, typical, says = _law(workload, recipe, points)
    if law is None:
        sizes, most = (typical * batch, longest * batch) if free else (typical, longest)
        return _lengths(typical, sizes, most, (most, most), workload, says, 1 if free else batch, batches)
    if not free:
        found = _lengths(typical, typical, longest, (longest, longest), workload, says, batch, batches)
        return found if recipe.batching == "grouped" else _rising(found, law)
    total = sum_of(law, batch, batch * longest)
    # the largest of N independent draws lies below x with the N-th power of one draw's chance: 5 %, 95 % of it, and
    # the usual largest, which one draw in N exceeds
    low, most, high = total(np.array([0.05 ** (1 / batches), 1 - 1 / batches, 0.95 ** (1 / batches)])).tolist()
    beside = longest + (batch - 1) * float(typical.mean())
    if workload.samples is not None or batch == 1:
        # the whole data is passed, so its longest sample too, beside others of the mean length at least
        most = max(most, beside)
    most = float(round(most))
    says = f"{says}; without padding, {most:.0f} tokens are the most of {batches:,} batches of {batch}"
    sizes = np.minimum(total(middle(points)), most)
    ends = min(low, most), max(high, beside, most)
    return _rising(_lengths(typical, sizes, most, ends, workload, says, 1, batches), total)


def _law(workload: Workload, recipe: Recipe, points: int) -> tuple[Law | None, Floats, str]:
    """The law of batches' lengths, or of samples' where these are not padded, and so many equally likely ones of it.

    None where all are as long as the longest.
    """
    longest = float(workload.seq_len)
    if recipe.batching == "packed" or (not workload.length_quantiles and workload.mean_length >= longest):
        return None, np.array([longest]), "every batch is as long as the longest sample"
    if workload.length_quantiles:
        known = np.minimum(np.array(workload.length_quantiles, dtype=np.float64), longest)
        law = longest_of(known, recipe.micro_batch_size * workload.sequences if recipe.batching == "padded" else 1)
        return law, law(middle(points)), f"batch lengths are drawn from those of the samples, {workload.lengths}"
    free = recipe.batching == "padding-free"
    shape = load_constants("time")["sample_length_shape" if free else "length_shape"].value
    what = "sample" if free else "batch"
    says = f"{what} lengths follow a gamma law of shape {shape:g} around {workload.mean_length:g} tokens"
    law = gamma_law(workload.mean_length, longest, shape, points)
    return law, law(middle(points)), says


def _lengths(
    typical: Floats,
    sizes: Floats,
    longest: float,
    ends: tuple[float, float],
    workload: Workload,
    says: str,
    rows: int,
    batches: int,
) -> BatchLengths:
    """Batches the longest of which comes first, or is like all others."""
    ratio = float(workload.target_len or 0) / float(workload.seq_len)
    return BatchLengths(
        typical=typical,
        targets=typical * ratio,
        longest=longest,
        longest_target=longest * ratio,
        says=says,
        sizes=sizes,
        rows=rows,
        longest_low=ends[0],
        longest_high=ends[1],
        batches=batches,
        rising=np.array([longest]),
        rarity=np.array([float(batches)]),
    )


def _rising(lengths: BatchLengths, law: Law) -> BatchLengths:
    """With the records of a typical random order: evenly spread over the Poisson process, in whole tokens."""
    span = np.log(lengths.batches) + EULER
    levels = span * middle(max(1, round(span)))
    shorter = np.minimum(np.ceil(law(1 - np.exp(-levels))), lengths.longest)
    rising, first = np.unique(np.append(shorter, lengths.longest), return_index=True)
    return replace(lengths, rising=rising, rarity=np.minimum(np.exp(np.append(levels, span)), lengths.batches)[first])


def batches_of(lengths: BatchLengths, recipe: Recipe) -> list[Shape | str]:
    """The batches that allocated memory is replayed over: the first, some typical ones, the longest."""
    if not lengths.vary:
        return [lengths.largest, lengths.largest]
    sizes = np.sort(lengths.sizes)[::-1]

    def at(share: float) -> Shape:
        """The batch that a share of all batches is longer than."""
        return lengths.shape(float(sizes[round(share * (len(sizes) - 1))]))

    mean = lengths.shape(float(sizes.mean()))
    if recipe.trainer == "loop":
        return [at(0), mean, EMPTY_CACHE, mean, at(1), EMPTY_CACHE, lengths.largest]
    if recipe.batching == "grouped":
        # transformers' LengthGroupedSampler begins with the longest batch of all
        return [lengths.largest, mean, at(0.85), lengths.largest]
    return [at(0.5), mean, lengths.largest]


MEAN_STEP = 1
"""Which of the steps of `batches_of` has the mean length: it says what is alive between two steps on average."""
