"""What must hold between two answers of which one asks for more; each law notes what it compared, and each fault."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
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
UNEVEN_BYTES = {"peak_allocated": 4 * 2**20, "peak_reserved": 20 * 2**20}
"""Besides: a cached block that is up to 1 MiB larger than asked for is handed out whole, and a small model has few."""
UNEVEN_TIME = 0.005
"""A batch of one sample carries no padding mask, so its step issues other operations than that of a larger one."""
HOST_BOUND = 0.2


@dataclass
class Comparisons:
    """What came of the laws so far: faults in words, pairs that kept their order, and questions that were refused.

    `unevenness` holds the most that a quantity fell where more was asked for, as a share and in bytes or seconds.
    """

    faults: list[str] = field(default_factory=list)
    laws: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    unevenness: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def held(self) -> int:
        return self.laws.total()

    def kept(self, law: str, *faults: str) -> None:
        """One comparison of a law, and what was wrong with it."""
        self.laws[law] += 1
        self.faults += [f"{law}: {fault}" for fault in faults]

    def answers(self, law: str, *found: Candidate | None) -> bool:
        """Whether all questions of a comparison were answered; else it is counted as refused."""
        if all(one is not None for one in found):
            return True
        self.refused[law] += 1
        return False

    def no_less(self, law: str, one: Candidate, other: Candidate) -> None:
        """`other` asks for more than `one`: it takes no less memory and time."""
        self.kept(law, *self.less_memory(one, other), *self.faster(one, other))

    def less_memory(self, one: Candidate, other: Candidate) -> Iterator[str]:
        """Where `other`, which asks for more, is said to take less memory."""
        for name, share in UNEVEN.items():
            small, large = getattr(one.memory, name).mid, getattr(other.memory, name).mid
            self.fell(name, small, large)
            if small > large * (1 + share) + UNEVEN_BYTES[name]:
                yield f"{name} falls from {small:,.0f} to {large:,.0f} ({large / small - 1:+.2%})"

    def faster(self, one: Candidate, other: Candidate) -> Iterator[str]:
        """Where `other`, which asks for more, is said to take less time."""
        small, large = one.time.step.mid, other.time.step.mid
        self.fell("step", small, large)
        if small > large * (1 + UNEVEN_TIME):
            yield f"a step falls from {small:.6g} s to {large:.6g} s ({large / small - 1:+.2%})"

    def fell(self, name: str, small: float, large: float) -> None:
        """Note how far a quantity fell."""
        share, size = self.unevenness.get(name, (0.0, 0.0))
        self.unevenness[name] = (max(share, 1 - large / small if small else 0.0), max(size, small - large))

    def check(self) -> None:
        """Raise where a law was mostly refused: it would hold of nothing."""
        mostly = [law for law, count in self.refused.items() if count > self.laws[law]]
        assert not mostly, f"refused more often than answered: {mostly}, {self.laws}, {self.refused}"


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


def of_more_samples(recipe: dict[str, Any], sizes: dict[str, Any], made: Comparisons) -> None:
    """More samples at once take no less memory and time."""
    asked = question(recipe, sizes)
    more_of(asked, asked | {"batch_size": asked["batch_size"] + sizes["more_samples"]}, "batch", made)


def of_more_tokens(recipe: dict[str, Any], sizes: dict[str, Any], made: Comparisons) -> None:
    """Longer samples take no less memory and time."""
    asked = question(recipe, sizes)
    longer = max(1, int(LONGEST[recipe["model"]] * sizes["longer"]))
    more_of(asked, asked | {"seq_len": asked["seq_len"] + longer}, "length", made)


def more_of(asked: dict[str, Any], more: dict[str, Any], law: str, made: Comparisons) -> None:
    """Compare two sizes of one trace, whose bytes alive are compared without any tolerance."""
    one, other = ask(**asked), ask(**more)
    if not made.answers(law, one, other):
        return
    assert one is not None
    assert other is not None
    made.no_less(law, one, other)
    small, large = live_peak(one), live_peak(other)
    made.kept(f"{law}, alive", *([f"bytes alive fall from {small:,} to {large:,}"] if small > large else []))


def of_more_accumulation(recipe: dict[str, Any], sizes: dict[str, Any], made: Comparisons) -> None:
    """More micro-batches a step take no less memory and time."""
    asked = question(recipe, sizes)
    one, other = ask(**asked), ask(**asked | {"gradient_accumulation": asked["gradient_accumulation"] + 1})
    if made.answers("accumulation", one, other):
        assert one is not None
        assert other is not None
        made.no_less("accumulation", one, other)


def of_a_shorter_mean(recipe: dict[str, Any], sizes: dict[str, Any], made: Comparisons) -> None:
    """Samples that are shorter on the mean, the longest alike, take no more memory and time."""
    asked = question(recipe, sizes)
    mean = max(1.0, round(asked["seq_len"] * sizes["mean"], 3))
    one, other = ask(**asked | {"mean_seq_len": mean}), ask(**asked)
    if not made.answers("mean length", one, other):
        return
    assert one is not None
    assert other is not None
    # what varying lengths leave reserved is a law of its own, in tests/estimator
    small, large = one.memory.peak_allocated.mid, other.memory.peak_allocated.mid
    made.fell("peak_allocated", small, large)
    less = small > large * (1 + UNEVEN["peak_allocated"]) + UNEVEN_BYTES["peak_allocated"]
    falls = [f"allocated falls from {small:,.0f} to {large:,.0f} as it grows"] if less else []
    made.kept("mean length", *falls, *made.faster(one, other))


def of_a_longer_training(recipe: dict[str, Any], sizes: dict[str, Any], made: Comparisons) -> None:
    """More samples or epochs take no less time and money; memory and a step do not depend on them."""
    asked = question(recipe, sizes)
    one = ask(**asked, samples=sizes["samples"])
    if not made.answers("training", one):
        return
    assert one is not None
    for more in ({"samples": sizes["samples"] * 2}, {"samples": sizes["samples"], "epochs": 4.0}):
        other = ask(**asked, **more)
        assert other is not None
        assert one.time.training is not None
        assert other.time.training is not None
        paid, more_paid = one.money.on_demand, other.money.on_demand
        faults = {
            "takes less time": other.time.training.mid < one.time.training.mid,
            "changes memory or a step": other.memory != one.memory or other.time.step != one.time.step,
            "costs less": bool(paid and more_paid and more_paid.mid < paid.mid),
        }
        made.kept("training", *(f"{more} {fault}" for fault, found in faults.items() if found))


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


def of_checkpointing(recipe: dict[str, Any], sizes: dict[str, Any], made: Comparisons) -> None:
    """Checkpointing holds fewer activations, never none fewer, and is never faster."""
    asked = question(recipe, sizes)
    off = ask(**asked | {"gradient_checkpointing": False})
    on = ask(**asked | {"gradient_checkpointing": True})
    if find_method(recipe["method"]).checkpointing is False or not made.answers("checkpointing", off, on):
        return
    assert off is not None
    assert on is not None
    shape = (asked["batch_size"], float(asked["seq_len"]), float(off.workload.target_len or 0))
    held, kept = saved_activations(timeline(off), *shape), saved_activations(timeline(on), *shape)
    before, after = off.memory.peak_allocated.mid, on.memory.peak_allocated.mid
    most = before * (1 + UNEVEN["peak_allocated"]) + UNEVEN_BYTES["peak_allocated"]
    made.fell("peak_allocated", after, before)
    faults = {
        f"activations held go from {held:,} to {kept:,}": kept >= held,
        f"allocated rises from {before:,.0f} to {after:,.0f}": after > most,
    }
    made.kept("checkpointing", *(fault for fault, found in faults.items() if found), *made.faster(off, on))


def of_more_rank(recipe: dict[str, Any], sizes: dict[str, Any], made: Comparisons) -> None:
    """A higher rank takes no less memory and time, where it trains no fewer parameters.

    Memory alone where the step runs fewer ops: LoKr keeps a factor whole once the rank reaches half of its size.
    """
    if recipe["method"] not in RANKED:
        return
    asked = question(recipe, sizes)
    one, other = (ask(**asked | {"rank": rank}) for rank in (4, 16))
    if not made.answers("rank", one, other):
        return
    assert one is not None
    assert other is not None
    if one.trainable_parameters <= other.trainable_parameters:
        fewer = len(timeline(other).op_name) < len(timeline(one).op_name)
        made.kept("rank", *made.less_memory(one, other), *(() if fewer else made.faster(one, other)))


def of_more_precision(recipe: dict[str, Any], sizes: dict[str, Any], made: Comparisons) -> None:
    """float32 takes no less than the card's 16-bit type where that holds what is trained; fewer bits hold no more.

    Elsewhere it may take less, and does: beside float32 adapters each 16-bit input is kept in both types, and a
    step that the host's processor bounds has a cast more for each.
    """
    asked = {k: v for k, v in question(recipe, sizes).items() if k not in ("autocast", "base")}
    of_card = half_precision(find_gpu(asked["gpu"])[0])
    half = ask(**asked | {"dtype": of_card})
    if find_method(recipe["method"]).trains_in_base_dtype:
        single = ask(**asked | {"dtype": "float32"})
        if made.answers("precision", half, single):
            assert half is not None
            assert single is not None
            device_bound = max(busy_host(half), busy_host(single)) < HOST_BOUND
            slower = made.faster(half, single) if device_bound else ()
            made.kept("precision", *made.less_memory(half, single), *slower)
    held = [(base, ask(**asked | {"base": base, "dtype": of_card})) for base in ("nf4", "int8", "dtype")]
    known = [(base, found) for base, found in held if found is not None]
    for (name, small), (more, large) in itertools.pairwise(known):
        few, many = small.memory.breakdown["base weights"], large.memory.breakdown["base weights"]
        made.kept("base", *([f"weights in {name} take {few:,} bytes, in {more} {many:,}"] if few > many else []))


def busy_host(candidate: Candidate) -> float:
    """Share of a step in which the device waits for the host, or for its own launches."""
    return candidate.time.bound_by["host"] + candidate.time.bound_by["launches"]


def of_the_sums(recipe: dict[str, Any], sizes: dict[str, Any], made: Comparisons) -> None:
    """The parts add up to the whole, and the cost is the hours at the offer that is named."""
    found = ask(**question(recipe, sizes), samples=sizes["samples"])
    if made.answers("sums", found):
        assert found is not None
        made.kept("sums", *wrong_sums(found))


def wrong_sums(found: Candidate) -> Iterator[str]:
    """What does not add up in one answer."""
    memory, time, money = found.memory, found.time, found.money
    if abs(sum(memory.breakdown.values()) - memory.peak_device.mid) > 1:
        yield f"parts {sum(memory.breakdown.values()):,}, the device's peak {memory.peak_device.mid:,.0f}"
    if memory.breakdown["fragmentation"] != round(memory.peak_reserved.mid - memory.peak_allocated.mid):
        yield "fragmentation is not reserved less allocated"
    if any(size < 0 for size in memory.breakdown.values()):
        yield f"a part is negative: {memory.breakdown}"
    if not math.isclose(sum(time.phases.values()), time.step.mid, rel_tol=1e-9):
        yield f"phases {sum(time.phases.values()):.9g}, a step {time.step.mid:.9g}"
    if abs(sum(time.bound_by.values()) - 1) > 1e-3:
        yield f"shares {time.bound_by}"
    steps = found.workload.optimizer_steps()
    assert steps is not None
    assert time.training is not None
    if not math.isclose(time.training.mid, steps * time.step.mid, rel_tol=1e-12):
        yield "the training is not its steps"
    for spot in (False, True):
        offers = [offer for offer in money.offers if offer.spot is spot]
        paid = money.spot if spot else money.on_demand
        if (paid is None) != (not offers):
            yield f"{'spot' if spot else 'on demand'} has a price and no offer, or the reverse"
        if paid is None:
            continue
        first = offers[0]
        if paid != first.cost or not math.isclose(
            paid.mid, time.training.mid / 3600 * first.usd_per_hour, rel_tol=1e-12
        ):
            yield f"{paid.mid} USD are not the hours at {first.usd_per_hour} USD/h"
        if f"{first.usd_per_hour:.2f} USD/h, {first.price.provider}" not in paid.why:
            yield f"the price names another offer: {paid.why}"
    for quantity in (memory.peak_device, memory.peak_reserved, memory.peak_allocated, time.step, time.training):
        if not quantity.low <= quantity.mid <= quantity.high:
            yield f"a value outside its range: {quantity}"


Law = Callable[[dict[str, Any], dict[str, Any], Comparisons], None]
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
