"""Steps that learn from finished studies of other data: a Gaussian process whose prior is what those came to.

Each earlier study is smoothed over the settings; the mean of them is what is expected here, how they differ from each
other, and one more such difference of this data's own, is how sure that is. After the first moves the next trial is
the settings with the largest expected improvement. Chosen by `python -m benchmarks.transfer`: with four earlier studies
it beats small steps around the best, where asking for the earlier studies' best settings first does not.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from advisor.domain.tuning import Dimension, Level
from advisor.tuner.search.local_moves import EvaluatedSettings, small_step
from advisor.tuner.search.space import METHOD, plain
from advisor.tuner.tune_request import EarlierStudy

Floats = NDArray[np.float64]

LENGTHS: Final = {
    "learning_rate": math.log(10) / 2,
    "head_learning_rate": math.log(10) / 2,
    "weight_decay": 3 * math.log(10),
    "rank": 2 * math.log(2),
    "alpha_over_rank": math.log(10),
    "effective_batch_size": 2 * math.log(2),
    "epochs": math.log(2),
}
"""Logarithms over which a score changes: half a decade of a rate, two doublings of a rank. Set before anything was
measured; of any other setting the whole range is one length."""
APART: Final = math.sqrt(math.log(2))
"""Of two levels without an order (methods, modules): what is known of one counts half for the other."""
SMOOTHING: Final = 0.5
"""Variance of a trial's score around the smooth, in its study's units."""
OWN: Final = 0.4
"""Standard deviation of what is this data's own, in the same units."""
NOISE: Final = 0.3
"""Standard deviation of a trial's score here: seed and evaluation rows."""
FLOOR: Final = -2.0
"""Units below a study's middle at which a score counts no lower: how badly a run fails says nothing of the best."""
UNITS: Final = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)
"""Standard deviations of log units at which this data's own unit is tried."""
LEAST_UNIT_SPREAD: Final = 0.5
CANDIDATES: Final = 192


def learned_step(
    dimensions: Sequence[Dimension], tried: Sequence[EvaluatedSettings], earlier: Sequence[EarlierStudy], draw: str
) -> dict[str, Level] | None:
    """The settings from which most is expected over the best so far; None where nothing here has a score yet.

    Args:
        tried: every trial asked for; those without a score count as far as no settings are proposed twice.
        draw: seed of the settings that are looked at.
    """
    scored = [one for one in tried if one.score is not None]
    if not scored:
        return None
    candidates = [c for c in _candidates(dimensions, scored, draw) if not any(dict(t.params) == c for t in tried)]
    if not candidates:
        return None
    at = [encoded(dimensions, _by_name(dimensions, one)) for one in (*(t.params for t in scored), *candidates)]
    studies = [
        (
            np.array([encoded(dimensions, dict(t.levels)) for t in study.trials]),
            np.array([t.score for t in study.trials]),
        )
        for study in earlier
    ]
    seen = np.array([one.score for one in scored], float)
    gain = expected_gain(np.array(at), seen, studies)[len(scored) :]
    return candidates[int(np.argmax(gain))]


def expected_gain(at: Floats, seen: Floats, studies: Sequence[tuple[Floats, Floats]]) -> Floats:
    """Expected improvement over the best seen, in units of a study, at settings of which the first were tried.

    Args:
        at: [n, d] encoded settings, the tried ones first.
        seen: [t] their scores, higher being better.
        studies: (encoded settings [m, d], scores [m]) of each finished study, one or more.

    Returns:
        [n]; of what was tried it is minus one.
    """
    smooth, units = np.array([_smoothed(at, *one) for one in studies]), np.log([_unit(one) for _, one in studies])
    prior = smooth.mean(0)
    cov = OWN**2 * likeness(at, at)
    spread = LEAST_UNIT_SPREAD
    if len(studies) > 1:
        cov = cov + (smooth - prior).T @ (smooth - prior) / (len(studies) - 1)
        spread = max(spread, float(units.std()))
    t = len(seen)
    inverse = np.linalg.inv(cov[:t, :t] + NOISE**2 * np.eye(t))
    to = cov[:, :t] @ inverse
    sure = np.sqrt(np.clip(np.diag(cov) - np.einsum("ij,ij->i", to, cov[:, :t]), 1e-9, None) + NOISE**2)
    likely: list[float] = []
    gains: list[Floats] = []
    for unit in np.exp(units.mean() + spread * np.array(UNITS)):
        off = seen / unit - prior[:t]
        # the level of this data's scores is its own: what explains the trials best is taken off
        level = (inverse.sum(0) @ off) / inverse.sum()
        off = off - level
        likely.append(float(-0.5 * off @ inverse @ off - (t - 1) * math.log(unit)))
        z = (prior + to @ off - (seen.max() / unit - level)) / sure
        gains.append(sure * (z * ndtr(z) + np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)))
    weights = np.exp(np.array(likely) - max(likely))
    gain: Floats = (weights / weights.sum()) @ np.array(gains)
    gain[:t] = -1.0
    return gain


def likeness(one: Floats, other: Floats) -> Floats:
    """[n, m] 1 for the same settings, falling with the distance."""
    return np.exp(-((one[:, None] - other[None]) ** 2).sum(2) / 2)


def encoded(dimensions: Sequence[Dimension], levels: Mapping[str, Level]) -> list[float]:
    """[d] settings by name as coordinates; one that is missing is where the search starts."""
    found: list[float] = []
    for name in dict.fromkeys(d.name for d in dimensions):
        d = next(one for one in dimensions if one.name == name)
        found += _coordinates(d, levels.get(name, plain(d.start)))
    return found


def _coordinates(d: Dimension, level: Level) -> list[float]:
    ends = [c for c in ((d.low, d.high) if d.kind != "choice" else d.choices) if isinstance(c, (int, float))]
    if len(ends) < 2 or isinstance(level, bool) or not isinstance(level, (int, float)):
        return [APART * (level == plain(choice)) for choice in d.choices]
    if d.name in LENGTHS and level > 0:
        return [math.log(level) / LENGTHS[d.name]]
    return [float(level) / (max(ends) - min(ends))]


def _by_name(dimensions: Sequence[Dimension], params: Mapping[str, Level]) -> dict[str, Level]:
    return {d.name: params[d.key] for d in dimensions if d.key in params}


def _candidates(
    dimensions: Sequence[Dimension], scored: Sequence[EvaluatedSettings], draw: str
) -> list[dict[str, Level]]:
    """Settings to choose from: small steps around the best, and others drawn from the whole space."""
    rng = random.Random(draw)
    best = max(scored, key=lambda one: -math.inf if one.score is None else one.score)
    near = [small_step(dimensions, best, scored, rng) for _ in range(CANDIDATES // 2)]
    return [*near, *(_anywhere(dimensions, rng) for _ in range(CANDIDATES // 2))]


def _anywhere(dimensions: Sequence[Dimension], rng: random.Random) -> dict[str, Level]:
    params: dict[str, Level] = {}
    for d in dimensions:
        if d.method is not None and params.get(METHOD, d.method) != d.method:
            continue
        if d.kind == "choice":
            params[d.key] = plain(rng.choice(d.choices))
            continue
        assert d.low is not None
        assert d.high is not None
        value = math.exp(rng.uniform(math.log(d.low), math.log(d.high))) if d.log else rng.uniform(d.low, d.high)
        params[d.key] = round(value) if d.kind == "int" else min(max(value, d.low), d.high)
    return params


def _unit(scores: Floats) -> float:
    """What a study's best have over its middle."""
    return max(float(np.quantile(scores, 0.97) - np.median(scores)), 1e-3 * max(1.0, float(np.abs(scores).max())) / 100)


def _smoothed(at: Floats, settings: Floats, scores: Floats) -> Floats:
    """[n] a study's scores at other settings, in its own units over its middle."""
    units = np.clip((scores - np.median(scores)) / _unit(scores), FLOOR, None)
    known = likeness(settings, settings) + SMOOTHING * np.eye(len(scores))
    middle = float(units.mean())
    pulls = np.asarray(np.linalg.solve(known, units - middle), np.float64)
    return middle + likeness(at, settings) @ pulls
