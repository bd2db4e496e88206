"""The three things candidates are compared by - cost, expected quality, memory - read from a Candidate."""

from __future__ import annotations

import math

from advisor.catalog.methods import find_method, options_of
from advisor.domain.candidate import Candidate
from advisor.domain.quantity import Quantity
from advisor.errors import UnknownName

NORMAL_90 = 1.6448536269514722
"""Half-width of a central 90 % interval in standard deviations of a normal distribution."""


def training_seconds(candidate: Candidate, *, spot: bool = False) -> float:
    """What the training costs: its time, or one step's time where the number of samples is unknown.

    All candidates of one question run on one machine at one price and with one effective batch, so
    order by time is order by money, and order by a step's time is order by the training's.
    """
    return (candidate.time.wall(spot=spot) or candidate.time.step).mid


def training_usd(candidate: Candidate, *, spot: bool = False) -> Quantity | None:
    """The whole training's price at the cheapest offer, None where no price or no sample count is known."""
    return candidate.money.at(spot=spot)


def expected_effect(candidate: Candidate) -> float:
    """Expected points against full fine-tuning; minus infinity where no quality was predicted."""
    return -math.inf if candidate.quality is None else candidate.quality.effect.mid


def spread(candidate: Candidate) -> float:
    """Standard deviation of the effect, from its 90 % interval; infinite where nothing is known."""
    if candidate.quality is None:
        return math.inf
    interval = candidate.quality.effect
    return (interval.high - interval.low) / (2 * NORMAL_90)


def has_evidence(candidate: Candidate) -> bool:
    """At least one study bears on it; full fine-tuning is what all studies compare with, so it always has."""
    if candidate.quality is None:
        return False
    return candidate.recipe.method == "full" or candidate.quality.studies > 0


def chance_better(one: Candidate, other: Candidate) -> float:
    """Probability that `one` scores higher than `other`, their effects taken as independent normals.

    Independence is the cautious reading: what two methods share in a study makes their difference surer.
    """
    gap = expected_effect(one) - expected_effect(other)
    noise = math.hypot(spread(one), spread(other))
    if math.isnan(gap) or gap == 0:
        return 0.5
    if math.isinf(gap) or noise == 0:
        return float(gap > 0)
    return 0.5 * (1 + math.erf(gap / noise / math.sqrt(2)))


def peak_bytes(candidate: Candidate) -> float:
    """Bytes on the device at the peak, context included."""
    return candidate.memory.peak_device.mid


def dominates(one: Candidate, other: Candidate) -> bool:
    """`one` is as good as `other` in cost, expected effect and merging, and better in one of them.

    Memory is not among them: each candidate has the largest micro-batch that fits, so its peak says how full
    the GPU is and not how little the method could do with. Where no quality is known of either, none dominates.
    """
    if one.quality is None and other.quality is None:
        return False
    mergeable = (bool(one.facts.get("mergeable")), bool(other.facts.get("mergeable")))
    no_worse = (
        training_seconds(one) <= training_seconds(other)
        and expected_effect(one) >= expected_effect(other)
        and mergeable[0] >= mergeable[1]
    )
    return no_worse and (
        training_seconds(one) < training_seconds(other)
        or expected_effect(one) > expected_effect(other)
        or mergeable[0] > mergeable[1]
    )


def why_dominated(one: Candidate, other: Candidate) -> str:
    """One sentence on how `one` dominates `other`."""
    slower = training_seconds(other) / training_seconds(one) - 1
    gap = expected_effect(one) - expected_effect(other)
    parts = [f"{slower:.0%} slower" if slower >= 0.005 else "no faster"]
    if math.isfinite(gap):
        parts.append(f"expected {gap:.1f} points lower" if gap >= 0.05 else "no better by the evidence")
    if not has_evidence(other):
        parts.append("no study bears on it")
    said = "".join(f"; {part}" for part in parts[2:])
    return f"no advantage over {one.recipe.method}: {_other_rank(one, other)}{', '.join(parts[:2])}{said}"


def _other_rank(one: Candidate, other: Candidate) -> str:
    """`at rank 64 instead of 16, ` where they differ: much of the difference in cost is then the rank's."""
    mine, its = _rank(one), _rank(other)
    return f"at rank {its} instead of {mine}, " if mine is not None and its is not None and mine != its else ""


def _rank(candidate: Candidate) -> int | None:
    try:
        rank = options_of(find_method(candidate.recipe.method), candidate.recipe.options).get("rank")
    except UnknownName:
        # a candidate kept from a version that had the method
        return None
    return rank if isinstance(rank, int) else None
