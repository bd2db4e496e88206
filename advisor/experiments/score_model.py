"""Scores of methods at every data size, as one Gaussian model: a learning curve, what methods differ by, what is noise.

score(arm, n) = s - b x(n) + effect(method, n) + rate(arm), where x(n) = ((n/N)^-d - 1) / (8^d - 1): the power law of
data-requirement studies, written so that s is full fine-tuning's score at all N rows and b what it gains from N/8 to
N. Effects begin where published studies leave them. Given the decay d all is linear, so trainings update it exactly;
decays are averaged over, each weighted by how well it foretold what was seen. Everything here is in points, 0-100.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DECAYS: Final = tuple(float(d) for d in np.geomspace(0.05, 1.0, 9))
"""Published learning curves of fine-tuning lie well inside (`advisor.literature.data_scale`)."""
SCORE: Final = (60.0, 30.0)
"""Mean and standard deviation of s before anything was trained: next to nothing is known."""
GAIN: Final = (6.5, 6.6)
"""Of b: mean over five studies of the catalogue with several sizes, and between and within them together
(`python -m benchmarks.probe --priors`)."""
CORRELATION_AT_8: Final = 0.5
"""Of how far a method is from its prediction at one size and at eight times as many rows: 0.24 to 0.62 in four
published tables (`python -m benchmarks.probe --priors`)."""
OTHER_RATE: Final = (-1.0, 2.0)
"""Points that three times or a third of the recommended rate loses: -0.6 and -1.7 on average in three published
searches, widened, since they are of one study (`python -m benchmarks.probe --priors`)."""
DRAWS: Final = 4000
NODES: Final = tuple(float(z) for z in np.polynomial.hermite_e.hermegauss(31)[0])
NODE_WEIGHTS: Final = np.polynomial.hermite_e.hermegauss(31)[1] / math.sqrt(2 * math.pi)


@dataclass(frozen=True, slots=True)
class Arm:
    """What may be chosen: a method at its recommended rate times `factor`."""

    method: str
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Observation:
    """One training that ended: `points` with the variance of its noise (seed and evaluation rows)."""

    arm: int
    size: int
    points: float
    variance: float


@dataclass(frozen=True, slots=True)
class Effects:
    """Of each method against full fine-tuning: mean and sd by size, and the correlation between methods."""

    methods: tuple[str, ...]
    sizes: tuple[int, ...]
    mean: Floats
    """[methods, sizes]"""
    sd: Floats
    """[methods, sizes]"""
    correlation: Floats
    """[methods, methods]"""


@dataclass(frozen=True, slots=True)
class Draws:
    """[DRAWS, arms] scores at all rows, and of each draw its curve: b and d."""

    scores: Floats
    gains: Floats
    decays: Floats


@dataclass(frozen=True, slots=True)
class _AtDecay:
    """The posterior at one decay: of every arm at every size, then b."""

    weight: float
    decay: float
    mean: Floats
    covariance: Floats


class ScoreModel:
    """The prior over arms and sizes; `given` conditions it on what was trained."""

    def __init__(self, arms: Sequence[Arm], effects: Effects) -> None:
        """The last of the sizes is all rows, N."""
        self.arms = tuple(arms)
        self.sizes = effects.sizes
        self.whole = effects.sizes[-1]
        method = [effects.methods.index(arm.method) for arm in arms]
        size = np.tile(np.arange(len(self.sizes)), len(arms))
        own = np.repeat(method, len(self.sizes))
        arm = np.repeat(np.arange(len(arms)), len(self.sizes))
        logs = np.log(np.array(self.sizes, dtype=float))[size]
        apart = np.abs(logs[:, None] - logs[None, :]) / math.log(8)
        sd = effects.sd[own, size]
        self._effect = effects.correlation[np.ix_(own, own)] * sd[:, None] * sd[None, :] * CORRELATION_AT_8**apart
        other = np.array([a.factor != 1.0 for a in arms])[arm]
        self._effect += np.where((arm[:, None] == arm[None, :]) & other[:, None], OTHER_RATE[1] ** 2, 0.0)
        self._mean = effects.mean[own, size] + np.where(other, OTHER_RATE[0], 0.0)
        self._logs = logs - math.log(self.whole)

    def at(self, arm: int, size: int) -> int:
        """Where an arm at a size stands among all."""
        return arm * len(self.sizes) + self.sizes.index(size)

    def given(self, seen: Sequence[Observation]) -> ScorePosterior:
        """The posterior after these trainings."""
        places = np.array([self.at(one.arm, one.size) for one in seen], dtype=int)
        points = np.array([one.points for one in seen])
        noise = np.array([one.variance for one in seen])
        found: list[_AtDecay] = []
        fits: list[float] = []
        for decay in DECAYS:
            x = np.expm1(-decay * self._logs) / math.expm1(decay * math.log(8))
            mean = np.append(SCORE[0] - GAIN[0] * x + self._mean, GAIN[0])
            covariance = np.empty((len(x) + 1, len(x) + 1))
            covariance[:-1, :-1] = SCORE[1] ** 2 + GAIN[1] ** 2 * np.outer(x, x) + self._effect
            covariance[-1, :-1] = covariance[:-1, -1] = -(GAIN[1] ** 2) * x
            covariance[-1, -1] = GAIN[1] ** 2
            fit = 0.0
            if len(places):
                seen_cov = covariance[np.ix_(places, places)] + np.diag(noise)
                gap = points - mean[places]
                cross = covariance[:, places]
                solved = np.linalg.solve(seen_cov, np.column_stack([gap, cross.T]))
                fit = -0.5 * float(gap @ solved[:, 0] + np.linalg.slogdet(seen_cov)[1])
                mean = mean + cross @ solved[:, 0]
                covariance = covariance - cross @ solved[:, 1:]
            found.append(_AtDecay(1.0, decay, mean, covariance))
            fits.append(fit)
        weights = np.exp(np.array(fits) - max(fits))
        weights /= weights.sum()
        return ScorePosterior(
            self, [_AtDecay(float(w), g.decay, g.mean, g.covariance) for w, g in zip(weights, found, strict=True)]
        )


class ScorePosterior:
    """What is known of every arm at every size."""

    def __init__(self, model: ScoreModel, parts: Sequence[_AtDecay]) -> None:
        self.model = model
        self.parts = tuple(parts)
        self._last = np.array([model.at(i, model.whole) for i in range(len(model.arms))])

    def whole(self) -> tuple[Floats, Floats]:
        """([arms] mean, [arms] sd) of the score at all rows."""
        weights = np.array([p.weight for p in self.parts])
        means = np.array([p.mean[self._last] for p in self.parts])
        variances = np.array([np.diag(p.covariance)[self._last] for p in self.parts])
        mean = weights @ means
        return mean, np.sqrt(np.maximum(weights @ (variances + (means - mean) ** 2), 0.0))

    def expected(self, arm: int, size: int) -> float:
        """The mean score of an arm at a size."""
        place = self.model.at(arm, size)
        return float(sum(p.weight * p.mean[place] for p in self.parts))

    def worth(self, noise: Floats) -> tuple[Floats, Floats]:
        """What one more training is worth at every arm and size, in the order of `ScoreModel.at`.

        Args:
            noise: [arms x sizes] variance of what a training there shows.
        Returns:
            Points that the choice is expected to gain by it, and sd that the score of the best arm loses. The first is
            the knowledge gradient (Frazier, Powell and Dayanik 2008): how much higher the best expected score at all
            rows is after the training than before, on average over what it may show.
        """
        best = int(np.argmax(self.whole()[0]))
        gained, narrowed = np.zeros_like(noise), np.zeros_like(noise)
        for part in self.parts:
            covariance = part.covariance[:-1, :-1]
            slope = covariance[self._last] / np.sqrt(np.diag(covariance) + noise)
            mean = part.mean[self._last]
            highest = [(mean[:, None] + node * slope).max(axis=0) for node in NODES]
            gained += part.weight * np.maximum(0.0, NODE_WEIGHTS @ np.array(highest) - mean.max())
            before = max(float(covariance[self._last[best], self._last[best]]), 0.0)
            narrowed += part.weight * (math.sqrt(before) - np.sqrt(np.maximum(before - slope[best] ** 2, 0.0)))
        return gained, narrowed

    def draws(self) -> Draws:
        """Joint draws, the same for the same trainings; a curve that falls with more data is left out."""
        random = np.random.default_rng(0)
        scores: list[Floats] = []
        gains: list[Floats] = []
        decays: list[Floats] = []
        for part in self.parts:
            count = round(part.weight * DRAWS)
            if not count:
                continue
            take = np.append(self._last, len(part.mean) - 1)
            values, vectors = np.linalg.eigh(part.covariance[np.ix_(take, take)])
            root = vectors * np.sqrt(np.maximum(values, 0.0))
            drawn = part.mean[take] + random.standard_normal((4 * count, len(take))) @ root.T
            rising = drawn[drawn[:, -1] >= 0]
            kept = (rising if len(rising) >= count else np.concatenate([rising, drawn[drawn[:, -1] < 0]]))[:count]
            scores.append(np.clip(kept[:, :-1], 0.0, 100.0))
            gains.append(np.maximum(kept[:, -1], 0.0))
            decays.append(np.full(len(kept), part.decay))
        return Draws(np.concatenate(scores), np.concatenate(gains), np.concatenate(decays))


def rows_for_more(draws: Draws, arm: int, whole: int, points: float) -> Floats:
    """[draws] of all rows that `points` more need; infinite where the curve's ceiling, or 100, is below that."""
    room = 8.0**draws.decays - 1
    share = points * room / np.maximum(draws.gains, 1e-9)
    found = np.full(len(share), np.inf)
    can = (share < 1) & (draws.scores[:, arm] + points <= 100)
    exponent = -np.log10(1 - share[can]) / draws.decays[can]
    found[can] = whole * 10.0 ** np.minimum(exponent, 9.0)
    return found
