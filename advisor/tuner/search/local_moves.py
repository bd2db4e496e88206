"""What a study tries before it has trials enough for a sampler to learn from.

A sampler that learns from fewer trials than it has settings draws nearly at random, and most budgets end there.
So after the recommendation one setting at a time moves from the best trial so far, the learning rate first and
on in the direction that helped; then rates and shares take small steps around the best; then the sampler.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from advisor.domain.tuning import Dimension, Level
from advisor.tuner.search.space import METHOD, start_params

MOVES: Final = (
    ("learning_rate", 0.5),
    ("learning_rate", 2.0),
    ("head_learning_rate", 2.0),
    ("head_learning_rate", 0.5),
    ("epochs", 2.0),
    ("effective_batch_size", 0.5),
    ("rank", 2.0),
    ("effective_batch_size", 2.0),
    ("alpha_over_rank", 2.0),
)
"""Setting and factor, in the order of influence in the literature we read: rate, length, batch, rank, scale.

Small factors: published values are seldom further off, and a move that helped is gone on with. The rate goes down
first: half of it learns a little less, where twice may come to nothing (benchmarks/results/tune_search.json).
"""
SAME: Final = 1.25
"""Numbers within this factor count as the same level: seeds differ by more than such a step gains."""
SAMPLER_FROM: Final = 12
"""Trials from which the sampler proposes: about twice the settings that matter."""
STEP_SHARE: Final = 1 / 8
"""Standard deviation of a step around the best, as a share of a setting's range."""
STEP_CHANCE: Final = 1 / 3
"""Of each setting but the rate to move in one step; the rate always does."""


@dataclass(frozen=True, slots=True)
class EvaluatedSettings:
    """A trial asked for already; `score` is better when higher, None where it has none (yet)."""

    params: Mapping[str, Level]
    score: float | None = None


def starts(dimensions: Sequence[Dimension]) -> list[tuple[str, dict[str, Level]]]:
    """The recommendation, and where several methods are searched the start of each other one."""
    found = [("recommendation", start_params(dimensions))]
    methods = next((d for d in dimensions if d.name == METHOD), None)
    if methods is not None:
        found += [(f"neighbour: {m} as recommended", start_params(dimensions, str(m))) for m in methods.choices[1:]]
    return found


def first_trials(dimensions: Sequence[Dimension], moves: int) -> tuple[str, ...]:
    """Names of the trials that are asked for by name, should none beat the recommendation."""
    names: list[str] = []
    tried: list[EvaluatedSettings] = []
    for name, params in starts(dimensions):
        tried.append(EvaluatedSettings(params, float(not tried)))
        names.append(name)
    while (found := next_trial(dimensions, tried, moves=moves, near=False, draw="")) is not None:
        names.append(found[0])
        tried.append(EvaluatedSettings(found[1], 0.0))
    return ("the recommendation", *(name.removeprefix("neighbour: ") for name in names[1:]))


def next_trial(
    dimensions: Sequence[Dimension], tried: Sequence[EvaluatedSettings], *, moves: int, near: bool, draw: str
) -> tuple[str, dict[str, Level]] | None:
    """The next trial's name and parameters; None where the sampler is to choose.

    Args:
        tried: every trial asked for so far, running and failed ones too.
        moves: how many single settings are moved before anything else.
        near: whether small steps around the best follow, until SAMPLER_FROM trials are there.
        draw: seed of such a step; two workers must not give the same.
    """
    for name, params in starts(dimensions):
        if not any(dict(one.params) == params for one in tried):
            return name, params
    best = max(tried, key=lambda one: -math.inf if one.score is None else one.score)
    base = dict(best.params)
    if len(tried) < len(starts(dimensions)) + moves:
        for name, factor in MOVES:
            for d in dimensions:
                level = _moved(d, base.get(d.key), factor) if d.name == name else None
                if level is not None and not any(_same(one.params.get(d.key), level) for one in tried):
                    said = f"{level:.3g}" if isinstance(level, float) else str(level)
                    return f"neighbour: {name} {said}", {**base, d.key: level}
    if near and len(tried) < sampler_from(dimensions, moves):
        params = small_step(dimensions, best, tried, random.Random(draw))
        if not any(dict(one.params) == params for one in tried):
            return "near the best", params
    return None


def sampler_from(dimensions: Sequence[Dimension], moves: int) -> int:
    """Trials from which the sampler proposes."""
    return max(SAMPLER_FROM, len(starts(dimensions)) + moves)


def _moved(d: Dimension, at: Level, factor: float) -> Level:
    """A level moved by a factor within the range, the next one that way for choices; None where there is none."""
    if not isinstance(at, (int, float)):
        return None
    if d.kind == "choice":
        numbers = sorted(c for c in d.choices if isinstance(c, (int, float)) and (c > at if factor > 1 else c < at))
        return min(numbers, key=lambda c: abs(math.log(c / (at * factor)))) if numbers else None
    assert d.low is not None
    assert d.high is not None
    moved = min(max(at * factor, d.low), d.high)
    return round(moved) if d.kind == "int" else moved


def _same(one: Level, other: Level) -> bool:
    if isinstance(one, (int, float)) and isinstance(other, (int, float)) and one > 0 and other > 0:
        return max(one, other) <= SAME * min(one, other)
    return one == other


def small_step(
    dimensions: Sequence[Dimension], best: EvaluatedSettings, tried: Sequence[EvaluatedSettings], draw: random.Random
) -> dict[str, Level]:
    """The best with its numbers moved a little; what is chosen from a list stays.

    The next rank or batch of a list is twice or half as much, which changes how far a training comes as much as twice
    or half the rate does: no small step, and one that mostly loses (benchmarks/results/tune_search.json).
    """
    params = dict(best.params)
    for d in dimensions:
        at = params.get(d.key)
        if d.kind == "choice" or isinstance(at, bool) or not isinstance(at, (int, float)):
            continue
        if d.name == "learning_rate" or draw.random() <= STEP_CHANCE:
            params[d.key] = _drawn(d, at, _worse(d.key, at, best, tried), draw)
    return params


def _worse(
    key: str, at: float, best: EvaluatedSettings, tried: Sequence[EvaluatedSettings]
) -> tuple[float | None, float | None]:
    """The nearest levels below and above `at` that scored worse, as far as there are any."""
    known = [
        level
        for one in tried
        if one.score is not None and best.score is not None and one.score < best.score
        if isinstance(level := one.params.get(key), (int, float)) and not _same(level, at)
    ]
    below, above = [level for level in known if level < at], [level for level in known if level > at]
    return max(below, default=None), min(above, default=None)


def _drawn(d: Dimension, at: float, worse: tuple[float | None, float | None], draw: random.Random) -> Level:
    """A level near `at`, at most half-way to those known to be worse."""
    assert d.low is not None
    assert d.high is not None
    scale, back = (math.log, math.exp) if d.log else (float, float)
    middle = scale(at)
    low, high = (
        scale(end) if known is None else (scale(known) + middle) / 2
        for known, end in zip(worse, (d.low, d.high), strict=True)
    )
    moved = draw.gauss(middle, STEP_SHARE * (scale(d.high) - scale(d.low)))
    if not low <= moved <= high:  # anywhere between: at the ends two steps would be one and the same
        moved = draw.uniform(low, high)
    moved = min(max(back(moved), d.low), d.high)
    return round(moved) if d.kind == "int" else moved
