"""The fitted quality model as it lies in `calibration/quality.json`, and its arithmetic: numpy only, no fitting."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from advisor import store
from advisor.domain.stored import Stored, Value
from advisor.errors import BadFile
from advisor.literature.quality.features import (
    SPREAD_OF_OLD,
    StudyDefaults,
    StudySetting,
    at_possible_sizes,
    features,
    spread_features,
)

Floats = NDArray[np.float64]
FILE: Final = "quality.json"


class StudyShare(Value):
    """One study the fit rests on. `moves` are its parts of the coefficients, in the order of `QualityFit.names`."""

    id: str
    title: str
    url: str
    sha256: str
    cells: int
    kinds: tuple[str, ...]
    methods: tuple[str, ...]
    moves: tuple[float, ...]


class QualityFit(Stored):
    """Posterior of the quality model, written by `advisor evidence --fit` and never by hand.

    `names` are "group|feature"; `mean` and the rows of the lower triangle `covariance` are in asinh(points).
    `spread` and `quantiles` give a new study's residual in points: exp(spread . features) x quantile at `levels`.
    `own_share`, `untuned_share` and `proposed` are what a study is taken to be of which nothing is said.
    `held_out` are the leave-one-study-out figures of this very fit.
    """

    KIND = "quality-fit"

    names: tuple[str, ...]
    mean: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    variances: dict[str, float]
    spread_names: tuple[str, ...] = SPREAD_OF_OLD
    spread: tuple[float, ...]
    levels: tuple[float, ...]
    quantiles: tuple[float, ...]
    most_doubt: float = Field(gt=0, description="points^2, see hierarchical_fit.doubt")
    attention: tuple[float, float] = Field(description="points lost by attention alone at 10^4, and per decade below")
    attention_studies: tuple[str, ...] = ()
    own_share: float = Field(0.0, ge=0, le=1)
    untuned_share: float = Field(0.0, ge=0, le=1)
    proposed: tuple[str, ...] = ()
    studies: tuple[StudyShare, ...]
    held_out: dict[str, float] = Field(default_factory=dict)


class Posterior:
    """A QualityFit ready to answer: arrays built once."""

    def __init__(self, fit: QualityFit) -> None:
        self.fit = fit
        self.index = {tuple(name.split("|", 1)): i for i, name in enumerate(fit.names)}
        size = len(fit.names)
        half = np.zeros((size, size))
        for i, row in enumerate(fit.covariance):
            half[i, : i + 1] = row
        self.covariance = half + np.tril(half, -1).T
        self.mean = np.array(fit.mean)
        self.moves = np.array([study.moves for study in fit.studies])
        self.quantiles = np.array(fit.quantiles)
        self.spread = np.array(fit.spread)
        self.usual = StudyDefaults(fit.own_share, fit.untuned_share, frozenset(fit.proposed))

    def vector(self, question: StudySetting) -> tuple[Floats, float]:
        """(x[P], prior variance of what no study has shown: a method that is not in the fit)."""
        x = np.zeros(len(self.mean))
        unseen = 0.0
        for (group, name), value in features(question).items():
            at = self.index.get((group, name))
            if at is None:
                unseen += self.fit.variances.get(group, 0.0) * value * value
            else:
                x[at] = value
        return x, unseen

    def answer(self, question: StudySetting) -> tuple[float, float, Floats]:
        """(effect in points, scale in points of what a new study adds, each study's part of asinh(effect))."""
        x, unseen = self.vector(question)
        mean = float(x @ self.mean)
        variance = max(0.0, float(x @ self.covariance @ x) + unseen)
        if possible := at_possible_sizes(question):
            variance += fmean((float(self.vector(one)[0] @ self.mean) - mean) ** 2 for one in possible)
        spread = spread_features(question, mean)
        own = math.exp(2 * float(np.dot([spread[name] for name in self.fit.spread_names], self.spread)))
        doubt = min(variance * math.cosh(mean) ** 2, self.fit.most_doubt)
        lost = self.attention_alone(question)
        return math.sinh(mean) + lost, math.sqrt(own + doubt + lost * lost), self.moves @ x

    def attention_alone(self, question: StudySetting) -> float:
        """Points (<= 0) that adapting attention alone costs a decoder, as sure as its own size: one study's word."""
        if not question.attention_only or question.kind != "low rank" or question.architecture != "decoder":
            return 0.0
        at, per_decade = self.fit.attention
        return at + per_decade * max(0.0, 4 - question.log_samples)

    def quantile(self, level: float) -> float:
        """Of the standardised residual, linear between the stored levels."""
        return float(np.interp(level, self.fit.levels, self.quantiles))

    def below(self, standardised: float) -> float:
        """Probability that the standardised residual is below a value; never surer than the outermost levels."""
        return float(np.interp(standardised, self.quantiles, self.fit.levels))


def fit_file() -> Path:
    """The user's own fit where there is one, else the one that ships.

    Raises:
        BadFile: neither is there.
    """
    found = [place / FILE for place in store.folders("calibration") if (place / FILE).is_file()]
    if not found:
        raise BadFile("no fit of the quality model is installed", hints=["to make one: advisor evidence --fit"])
    return found[-1]


@cache
def posterior() -> Posterior:
    """The installed fit, read once a process."""
    return Posterior(store.read(QualityFit, fit_file()))
