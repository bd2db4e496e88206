"""What must hold between two answers of which one asks for more; each law yields a sentence for each fault."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from advisor.catalog.gpus import find_gpu
from advisor.catalog.gpus.capabilities import half_precision
from advisor.catalog.methods import find_method
from advisor.domain.candidate import Candidate
from advisor.domain.trace.timeline import Timeline
from advisor.domain.trace.trace_schema import CATEGORIES
from advisor.estimator.batch_lengths import Shape
from advisor.estimator.memory.replay import peak_allocated
from tests.laws.questions import LONGEST, RANKED, ask, timeline

UNEVEN = {"peak_allocated": 0.01, "peak_reserved": 0.1}
"""Share by which the allocator itself may be uneven. A block is reused whole where less than a mebibyte would be left
of it, so bytes allocated differ a little; bytes reserved come in segments of 20 MiB and keep what no later tensor fits
into. Over 60 random recipes no pair of batches, lengths, ranks or accumulations needed any of it.
Source: torch 2.13, c10/cuda/CUDACachingAllocator.cpp, kLargeBuffer and should_split."""
UNEVEN_BYTES = 20 * 2**20
UNEVEN_TIME = 0.005
"""A batch of one sample carries no padding mask, so its step issues other operations than that of a larger one."""
HOST_BOUND = 0.2


def question(recipe: dict[str, Any], sizes: dict[str, Any]) -> dict[str, Any]:
    """The estimate's arguments at the smaller of the sizes."""
    length = max(8, int(LONGEST[recipe["model"]] * sizes["share"]))
    return {
        **recipe,
        "gpu": sizes["gpu"],
        "batch_size": sizes["batch_size"],
        "gradient_accumulation": sizes["gradient_accumulation"],
        "seq_len": length,
    }


def live_peak(candidate: Candidate) -> int:
    """Bytes alive at the peak at the longest length, without an allocator."""
    lengths = Shape(
        candidate.recipe.micro_batch_size, float(candidate.workload.seq_len), float(candidate.workload.target_len or 0)
    )
    return peak_allocated(timeline(candidate), lengths, accumulation=candidate.recipe.gradient_accumulation).peak


def no_less(one: Candidate, other: Candidate, what: str) -> Iterator[str]:
    """`other` asks for more than `one`: what of it is less."""
    yield from no_less_memory(one, other, what)
    yield from no_faster(one, other, what)


def no_less_memory(one: Candidate, other: Candidate, what: str) -> Iterator[str]:
    """Where `other`, which asks for more, is said to take less memory."""
    for name, share in UNEVEN.items():
        small, large = getattr(one.memory, name).mid, getattr(other.memory, name).mid
        if small > large * (1 + share) + (UNEVEN_BYTES if name == "peak_reserved" else 0):
            yield f"{what}: {name} falls from {small:,.0f} to {large:,.0f} ({large / small - 1:+.2%})"


def no_faster(one: Candidate, other: Candidate, what: str) -> Iterator[str]:
    """Where `other`, which asks for more, is said to take less time."""
    small, large = one.time.step.mid, other.time.step.mid
    if small > large * (1 + UNEVEN_TIME):
        yield f"{what}: a step falls from {small:.6g} s to {large:.6g} s ({large / small - 1:+.2%})"


def of_more_samples(recipe: dict[str, Any], sizes: dict[str, Any]) -> Iterator[str]:
    """More samples at once take no less memory and time."""
    asked = question(recipe, sizes)
    one, other = ask(**asked), ask(**asked | {"batch_size": asked["batch_size"] + sizes["more_samples"]})
    if one is not None and other is not None:
        yield from no_less(one, other, "batch")
        if live_peak(one) > live_peak(other):
            yield f"batch: bytes alive fall from {live_peak(one):,} to {live_peak(other):,}"


def of_more_tokens(recipe: dict[str, Any], sizes: dict[str, Any]) -> Iterator[str]:
    """Longer samples take no less memory and time."""
    asked = question(recipe, sizes)
    longer = max(1, int(LONGEST[recipe["model"]] * sizes["longer"]))
    one, other = ask(**asked), ask(**asked | {"seq_len": asked["seq_len"] + longer})
    if one is not None and other is not None:
        yield from no_less(one, other, "length")
        if live_peak(one) > live_peak(other):
            yield f"length: bytes alive fall from {live_peak(one):,} to {live_peak(other):,}"


def of_more_accumulation(recipe: dict[str, Any], sizes: dict[str, Any]) -> Iterator[str]:
    """More micro-batches a step take no less memory and time."""
    asked = question(recipe, sizes)
    one, other = ask(**asked), ask(**asked | {"gradient_accumulation": asked["gradient_accumulation"] + 1})
    if one is not None and other is not None:
        yield from no_less(one, other, "accumulation")


def of_a_shorter_mean(recipe: dict[str, Any], sizes: dict[str, Any]) -> Iterator[str]:
    """Samples that are shorter on the mean, the longest alike, take no more memory and time."""
    asked = question(recipe, sizes)
    mean = max(1.0, round(asked["seq_len"] * sizes["mean"], 3))
    one, other = ask(**asked | {"mean_seq_len": mean}), ask(**asked)
    if one is None or other is None:
        return
    # what varying lengths leave reserved is a law of its own, in tests/estimator
    small, large = one.memory.peak_allocated.mid, other.memory.peak_allocated.mid
    if small > large * (1 + UNEVEN["peak_allocated"]):
        yield f"mean length: allocated falls from {small:,.0f} to {large:,.0f} as it grows"
    yield from no_faster(one, other, "mean length")


def of_a_longer_training(recipe: dict[str, Any], sizes: dict[str, Any]) -> Iterator[str]:
    """More samples or epochs take no less time and money; memory and a step do not depend on them."""
    asked = question(recipe, sizes)
    one = ask(**asked, samples=sizes["samples"])
    if one is None:
        return
    for more in ({"samples": sizes["samples"] * 2}, {"samples": sizes["samples"], "epochs": 4.0}):
        other = ask(**asked, **more)
        assert other is not None
        assert one.time.training is not None
        assert other.time.training is not None
        if other.time.training.mid < one.time.training.mid:
            yield f"training: {more} takes less time"
        if other.memory != one.memory or other.time.step != one.time.step:
            yield f"training: {more} changes memory or a step"
        if one.money.on_demand and other.money.on_demand and other.money.on_demand.mid < one.money.on_demand.mid:
            yield f"training: {more} costs less"


def saved_activations(line: Timeline, batch: int, length: float, target: float) -> int:
    """The most bytes of activations that a step holds for its backward pass."""
    births = line.mem_alloc
    born = line.bytes_of(batch, length, target)
    size = np.zeros(int(line.mem_storage.max(initial=0)) + 1, dtype=np.int64)
    category = np.zeros_like(size)
    size[line.mem_storage[births]] = born[births]
    category[line.mem_storage[births]] = line.mem_category[births]
    change = np.where(births, born, -size[line.mem_storage])
    saved = category[line.mem_storage] == CATEGORIES.index("saved activations")
    return int(np.cumsum(np.where(saved, change, 0)).max(initial=0))


def of_checkpointing(recipe: dict[str, Any], sizes: dict[str, Any]) -> Iterator[str]:
    """Checkpointing holds fewer activations, never none fewer, and is never faster."""
    asked = question(recipe, sizes)
    off = ask(**asked | {"gradient_checkpointing": False})
    on = ask(**asked | {"gradient_checkpointing": True})
    if off is None or on is None:
        return
    shape = (asked["batch_size"], float(asked["seq_len"]), float(off.workload.target_len or 0))
    held, kept = saved_activations(timeline(off), *shape), saved_activations(timeline(on), *shape)
    if kept >= held:
        yield f"checkpointing: activations held go from {held:,} to {kept:,}"
    if on.memory.peak_allocated.mid > off.memory.peak_allocated.mid * (1 + UNEVEN["peak_allocated"]):
        yield (
            f"checkpointing: allocated rises from {off.memory.peak_allocated.mid:,.0f} to "
            f"{on.memory.peak_allocated.mid:,.0f}"
        )
    yield from no_faster(off, on, "checkpointing")


def of_more_rank(recipe: dict[str, Any], sizes: dict[str, Any]) -> Iterator[str]:
    """A higher rank takes no less memory and time, where it trains no fewer parameters."""
    if recipe["method"] not in RANKED:
        return
    asked = question(recipe, sizes)
    found = [ask(**asked | {"rank": rank}) for rank in (4, 16)]
    one, other = found
    if one is not None and other is not None and one.trainable_parameters <= other.trainable_parameters:
        yield from no_less(one, other, "rank")


def of_more_precision(recipe: dict[str, Any], sizes: dict[str, Any]) -> Iterator[str]:
    """float32 takes no less than the card's 16-bit type where that holds what is trained; fewer bits hold no more.

    Elsewhere it may take less, and does: beside float32 adapters each 16-bit input is kept in both types, and a
    step that the host's processor bounds has a cast more for each.
    """
    asked = {k: v for k, v in question(recipe, sizes).items() if k not in ("autocast", "base")}
    of_card = half_precision(find_gpu(asked["gpu"])[0])
    half = ask(**asked | {"dtype": of_card})
    if half is None:
        return
    if find_method(recipe["method"]).trains_in_base_dtype:
        single = ask(**asked | {"dtype": "float32"})
        if single is not None:
            yield from no_less_memory(half, single, "precision")
            if max(busy_host(half), busy_host(single)) < HOST_BOUND:
                yield from no_faster(half, single, "precision")
    held = [(base, ask(**asked | {"base": base, "dtype": of_card})) for base in ("nf4", "int8", "dtype")]
    known = [(base, found) for base, found in held if found is not None]
    for (name, small), (more, large) in itertools.pairwise(known):
        few, many = small.memory.breakdown["base weights"], large.memory.breakdown["base weights"]
        if few > many:
            yield f"base: weights in {name} take {few:,} bytes, in {more} {many:,}"


def busy_host(candidate: Candidate) -> float:
    """Share of a step in which the device waits for the host, or for its own launches."""
    return candidate.time.bound_by["host"] + candidate.time.bound_by["launches"]


def of_the_sums(recipe: dict[str, Any], sizes: dict[str, Any]) -> Iterator[str]:
    """The parts add up to the whole, and the cost is the hours at the offer that is named."""
    found = ask(**question(recipe, sizes), samples=sizes["samples"])
    if found is None:
        return
    memory, time, money = found.memory, found.time, found.money
    if abs(sum(memory.breakdown.values()) - memory.peak_device.mid) > 1:
        yield f"sums: parts {sum(memory.breakdown.values()):,}, the device's peak {memory.peak_device.mid:,.0f}"
    if memory.breakdown["fragmentation"] != round(memory.peak_reserved.mid - memory.peak_allocated.mid):
        yield "sums: fragmentation is not reserved less allocated"
    if any(size < 0 for size in memory.breakdown.values()):
        yield f"sums: a part is negative: {memory.breakdown}"
    if not math.isclose(sum(time.phases.values()), time.step.mid, rel_tol=1e-9):
        yield f"sums: phases {sum(time.phases.values()):.9g}, a step {time.step.mid:.9g}"
    if abs(sum(time.bound_by.values()) - 1) > 1e-3:
        yield f"sums: shares {time.bound_by}"
    steps = found.workload.optimizer_steps()
    assert steps is not None
    assert time.training is not None
    if not math.isclose(time.training.mid, steps * time.step.mid, rel_tol=1e-12):
        yield "sums: the training is not its steps"
    for spot in (False, True):
        offers = [offer for offer in money.offers if offer.spot is spot]
        paid = money.spot if spot else money.on_demand
        if (paid is None) != (not offers):
            yield f"sums: {'spot' if spot else 'on demand'} has a price and no offer, or the reverse"
        if paid is None:
            continue
        first = offers[0]
        if paid != first.cost or not math.isclose(
            paid.mid, time.training.mid / 3600 * first.usd_per_hour, rel_tol=1e-12
        ):
            yield f"sums: {paid.mid} USD are not the hours at {first.usd_per_hour} USD/h"
        if f"{first.usd_per_hour:.2f} USD/h, {first.price.provider}" not in paid.why:
            yield f"sums: the price names another offer: {paid.why}"
    for quantity in (memory.peak_device, memory.peak_reserved, memory.peak_allocated, time.step, time.training):
        if not quantity.low <= quantity.mid <= quantity.high:
            yield f"sums: a value outside its range: {quantity}"


Law = Callable[[dict[str, Any], dict[str, Any]], Iterator[str]]
OF_ONE_TRACE: tuple[Law, ...] = (
    of_more_samples,
    of_more_tokens,
    of_more_accumulation,
    of_a_shorter_mean,
    of_a_longer_training,
    of_the_sums,
)
BETWEEN_TRACES: tuple[Law, ...] = (of_checkpointing, of_more_rank, of_more_precision)
"""Each pair needs traces of its own, which cost a second each."""
