"""How quality goes with the number of samples: the expected effect along n, and how many samples a target needs.

The extrapolation follows the data-requirement literature: score = ceiling - amount * n^-decay, fitted to a
user's own pilot scores. Two scores fit a whole family of such curves, so the ceiling and the decay are not
estimated but averaged over: every curve of a grid that passes the pilots within their noise is kept, weighted by how
well it does, and the interval is what the kept curves say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from advisor.catalog.findings.method_names import our_name
from advisor.domain.candidate import Quality
from advisor.domain.quantity import Quantity
from advisor.domain.recommendation import Setting
from advisor.domain.stored import Value
from advisor.errors import BadRequest
from advisor.literature.hyperparameters.steps_to_converge import fewest_steps
from advisor.literature.hyperparameters.suggest import task_class
from advisor.literature.hyperparameters.training_length import USUAL_BATCH
from advisor.literature.quality.quality_prediction import predict_quality

Floats = NDArray[np.float64]

SIZES: Final = (30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
"""Samples at which `quality_curve` answers by default: half decades, as far as studies reach."""

MOST_SAMPLES: Final = 10**9
"""Beyond this an answer is `not reached`: nobody has such data, and no curve was measured there."""

USUAL_PASSES: Final = 3
"""What most published recipes train with (advisor evidence --settings): the measure of what converges unasked."""


class CurvePoint(Value):
    """Expected quality with this many samples, and the steps that the method needs there, where somebody measured them.

    `warning` says when that is more passes over the data than people make: fewer, and the method has not converged.
    """

    samples: int
    quality: Quality
    steps: Setting | None = None
    warning: str = ""


def quality_curve(
    method: str,
    *,
    architecture: str,
    model_parameters: int | None,
    task_type: str | None,
    sizes: Sequence[int] = SIZES,
) -> tuple[CurvePoint, ...]:
    """The effect against full fine-tuning at each size, with its band. Raises as `predict_quality` does."""
    points: list[CurvePoint] = []
    for size in sizes:
        quality = predict_quality(
            method,
            architecture=architecture,
            model_parameters=model_parameters,
            task_type=task_type,
            samples=size,
        )
        steps = fewest_steps(our_name(method), task_class(task_type), USUAL_BATCH)
        points.append(CurvePoint(samples=size, quality=quality, steps=steps, warning=_passes(size, steps)))
    return tuple(points)


def _passes(samples: int, steps: Setting | None) -> str:
    if steps is None or not isinstance(steps.value, (int, float)):
        return ""
    passes = math.ceil(steps.value * USUAL_BATCH / samples)
    if passes <= USUAL_PASSES:
        return ""
    return f"about {steps.value:,} steps to converge: {passes:,} passes at batch {USUAL_BATCH}, where 2-3 are usual"


class DataNeeded(Value):
    """Samples that reach `target`. `chance` is the share of weighted curves that reach it below MOST_SAMPLES."""

    target: float
    samples: Quantity | None = Field(description="None when less than half of the curves reach the target")
    chance: float = Field(ge=0, le=1)
    at_sizes: dict[int, Quantity] = Field(description="expected score at some larger sizes")
    ceiling: Quantity
    says: str


def data_needed(
    pilot: Mapping[int, float],
    target: float,
    *,
    seeds_spread: float | None = None,
    higher_is_better: bool = True,
) -> DataNeeded:
    """How much data the target needs, extrapolated from pilot scores at two or more sizes.

    Args:
        pilot: score by number of samples, all fractions (0..1) or all points (0..100); the target alike.
        seeds_spread: standard deviation of a score over seeds; by default one point, what re-runs show. Scores
            that no curve meets within it (falling ones) say themselves that there is more noise, and are believed.
    Raises:
        BadRequest: fewer than two sizes, a size below 1 or above MOST_SAMPLES, a score or target outside 0..100,
            fractions beside points, a spread that is not above 0, or scores where lower is better.
    """
    if not higher_is_better:
        raise BadRequest(
            "a score where lower is better cannot be extrapolated here", hints=["give accuracy, not error"]
        )
    scale = _scale(pilot, target)
    sizes = np.array(sorted(pilot), dtype=float)
    scores = np.array([pilot[int(size)] for size in sizes]) / scale
    goal = target / scale
    if seeds_spread is not None and not 0 < seeds_spread <= scale:
        raise BadRequest(f"the spread over seeds must be above 0 and in the scores' unit, not {seeds_spread}")
    ceilings, decays, amounts, weights = _curves(sizes, scores, 0.01 if seeds_spread is None else seeds_spread / scale)
    reach = _samples_at(goal, ceilings, decays, amounts)
    if scores.max() >= goal:
        reach = np.minimum(reach, sizes[scores >= goal].min())
    reached = reach <= MOST_SAMPLES
    chance = min(1.0, float(weights[reached].sum()))
    log_reach = np.log10(np.minimum(reach, MOST_SAMPLES * 10.0))
    low, mid, high = (10.0 ** _weighted_quantile(log_reach, weights, level) for level in (0.05, 0.5, 0.95))
    why = f"power laws through {len(sizes)} pilot scores, averaged over ceilings and decays"
    samples = (
        Quantity(low=low, mid=mid, high=min(high, 10.0 * MOST_SAMPLES), unit="count", basis="modelled", why=why)
        if chance >= 0.5
        else None
    )
    larger = {int(sizes[-1] * factor): sizes[-1] * factor for factor in (2, 4, 10)}
    at_sizes = {n: _score(size, ceilings, decays, amounts, weights, scale, why) for n, size in larger.items()}
    return DataNeeded(
        target=target,
        samples=samples,
        chance=chance,
        at_sizes=at_sizes,
        ceiling=_interval(ceilings, weights, scale, why),
        says=_says(samples, chance, int(sizes[-1]), falling=bool(scores[-1] < scores.max() - 0.01)),
    )


def _scale(pilot: Mapping[int, float], target: float) -> float:
    """1 for fractions, 100 for points; refuses what is neither."""
    if len(pilot) < 2:
        raise BadRequest("pilot scores at two or more sizes are needed", cause=f"{len(pilot)} given")
    if min(pilot) < 1:
        raise BadRequest(f"a pilot size must be at least 1, not {min(pilot)}")
    if max(pilot) > MOST_SAMPLES:
        raise BadRequest(f"a pilot size must be at most {MOST_SAMPLES:,}, not {max(pilot):,}")
    values = [*pilot.values(), target]
    if not all(math.isfinite(v) and 0 <= v <= 100 for v in values):
        raise BadRequest("scores and target must lie in 0-1 or in 0-100", cause=f"given: {values}")
    fractions = [v <= 1 for v in values if v > 0]
    if all(fractions):
        return 1.0
    if any(fractions):
        raise BadRequest(
            "fractions beside percentages: scores and target must be all 0-1 or all 0-100", cause=f"given: {values}"
        )
    return 100.0


def _curves(sizes: Floats, scores: Floats, noise: float) -> tuple[Floats, Floats, Floats, Floats]:
    """(ceiling, decay, amount, weight) of every curve on the grid that the pilots allow; weights sum to 1.

    For each ceiling and decay the amount is the least-squares one, kept when it is not negative. Decays reach from
    0.05 to 1: published learning curves of fine-tuning lie well inside. Where even the best curve misses the pilots by
    more than `noise`, the noise is what it misses them by.
    """
    ceilings, decays, amounts, weights = _curves_within(sizes, scores, noise)
    gaps = ceilings[:, None] - scores[None, :] - amounts[:, None] * sizes[None, :] ** -decays[:, None]
    missed = float(np.sqrt((gaps**2).mean(1))[weights > 0].min())
    return (ceilings, decays, amounts, weights) if missed <= noise else _curves_within(sizes, scores, missed)


def _curves_within(sizes: Floats, scores: Floats, noise: float) -> tuple[Floats, Floats, Floats, Floats]:
    top = float(scores.max())
    ceilings, decays = (
        grid.ravel() for grid in np.meshgrid(np.linspace(max(top - noise, 0.01), 1.0, 120), np.geomspace(0.05, 1.0, 60))
    )
    basis = sizes[None, :] ** -decays[:, None]
    gaps = ceilings[:, None] - scores[None, :]
    amounts = (basis * gaps).sum(1) / (basis**2).sum(1)
    misfit = ((gaps - amounts[:, None] * basis) ** 2).sum(1) / noise**2
    likelihood = np.exp(-0.5 * (misfit - misfit.min())) * (amounts > 0)
    if likelihood.sum() <= 0:
        amounts, likelihood = np.zeros_like(amounts), (ceilings <= top + noise).astype(float)
    return ceilings, decays, amounts, likelihood / likelihood.sum()


def _samples_at(goal: float, ceilings: Floats, decays: Floats, amounts: Floats) -> Floats:
    """Samples at which each curve meets the goal; infinite where its ceiling is not above it."""
    room = ceilings - goal
    found = np.full(len(ceilings), np.inf)
    can = (room > 0) & (amounts > 0)
    exponent = np.log10(amounts[can] / room[can]) / decays[can]
    found[can] = 10.0 ** np.minimum(exponent, 12.0)
    found[(room >= 0) & (amounts <= 0)] = 1.0
    return np.maximum(found, 1.0)


def _weighted_quantile(values: Floats, weights: Floats, level: float) -> float:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, level * reached[-1])])


def _interval(values: Floats, weights: Floats, scale: float, why: str) -> Quantity:
    low, mid, high = (_weighted_quantile(values, weights, level) * scale for level in (0.05, 0.5, 0.95))
    return Quantity(low=low, mid=mid, high=high, unit="score", basis="modelled", why=why)


def _score(
    size: float, ceilings: Floats, decays: Floats, amounts: Floats, weights: Floats, scale: float, why: str
) -> Quantity:
    return _interval(np.maximum(ceilings - amounts * size**-decays, 0.0), weights, scale, why)


def _says(samples: Quantity | None, chance: float, largest: int, *, falling: bool) -> str:
    more = "; your scores fall with more data: train longer, or look at the data, before asking for more"
    if samples is None:
        start = f"probably not reachable with more data alone: {chance:.0%} of the curves through your pilots reach it"
        return start + more * falling
    if round(samples.mid) <= largest:
        return "your largest pilot is already there, within its noise"
    top = "no upper end" if samples.high >= MOST_SAMPLES else f"{samples.high:,.0f}"
    return (
        f"about {samples.mid:,.0f} samples ({samples.low:,.0f} to {top}), "
        f"{samples.mid / largest:.1f} times your largest pilot; {chance:.0%} of the curves reach it"
    )
