"""A probe's scores in points, how sure one of them is, and where methods begin by what studies published."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from advisor.catalog.findings.method_names import our_name
from advisor.catalog.findings.task_types import task_type_of
from advisor.domain.quantity import Quantity
from advisor.experiments.score_model import Effects
from advisor.literature.quality.choice_odds import NORMAL_95, OF_A_METHOD, correlation
from advisor.literature.quality.features import StudySetting, architecture_of
from advisor.literature.quality.posterior import posterior
from advisor.literature.quality.quality_prediction import answer
from advisor.tuner.tune_request import TuneRequest

LOSSES: Final = {"loss": "100 - 10 x loss", "perplexity": "100 - 10 x ln(perplexity)"}
"""A tenth of a nat counts as a point: about what methods differ by in a training to generate."""
SEEDS_SPREAD: Final = (2.5, -0.13)
"""Standard deviation over seeds in points, 2.5 n^-0.13: 1.6 at 30 rows, 1.3 at 100, 1.0 at 1,000 and 0.6 at 10,000 are
the medians over the catalogue's studies (`python -m benchmarks.probe --priors`)."""
LACK_OF_FIT: Final = 1.2
"""Points by which a score is off its power law, beside seeds and rows: with it published curves end inside their
intervals about nine times in ten, without it 83 % of them (`python -m benchmarks.probe --curves`)."""
UNKNOWN_EFFECT: Final = 2.0
"""Of losses no effect is published: every method begins as full fine-tuning's equal, with twice the doubt."""


def points_said(metric: str) -> str:
    """How a score becomes points."""
    return LOSSES.get(metric, f"100 x {metric}")


def points_of(metric: str, score: float) -> float:
    """A score in points of 0-100, higher better."""
    if metric not in LOSSES:
        return 100.0 * score
    nats = score if metric == "loss" else math.log(max(score, 1e-300))
    return min(100.0, max(0.0, 100.0 - 10.0 * nats))


def noise_of(metric: str, points: float, size: int, scored_rows: int) -> float:
    """Variance of one training's points: its seed, the rows it was scored on, and what the curve misses."""
    seed = SEEDS_SPREAD[0] * size ** SEEDS_SPREAD[1]
    # a row's loss varies by about a nat; a share of rows as a binomial one does
    share = min(0.95, max(0.05, points / 100.0))
    row = 10.0**2 if metric in LOSSES else 100.0**2 * share * (1 - share)
    return seed**2 + row / scored_rows + LACK_OF_FIT**2


def questions_of(request: TuneRequest, methods: Sequence[str], size: int) -> list[StudySetting]:
    """What the evidence is asked of each method: by somebody who tunes rates and proposes none of them."""
    spec, workload = request.spec, request.workload
    return [
        StudySetting(
            method=our_name(name),
            architecture=architecture_of(spec.architecture),
            task_type=task_type_of(workload.task_type) if workload.task_type is not None else "NLU",
            samples=size,
            parameters=spec.parameters,
        )
        for name in methods
    ]


def effect_of(request: TuneRequest, question: StudySetting) -> Quantity:
    """Of a method against full fine-tuning, points, by the published studies."""
    effect = answer(posterior(), question).effect
    if request.metric not in LOSSES:
        return effect
    doubt = UNKNOWN_EFFECT * (effect.high - effect.low) / 2
    why = "no study tells of losses: as good as full fine-tuning, with twice the doubt"
    return Quantity(low=-doubt, mid=0.0, high=doubt, unit="score", basis="assumed", why=why)


def effects_of(request: TuneRequest, methods: Sequence[str], sizes: Sequence[int]) -> Effects:
    """Where every method begins at every size, and how they go together."""
    mean = np.zeros((len(methods), len(sizes)))
    sd = np.zeros_like(mean)
    for j, size in enumerate(sizes):
        for i, question in enumerate(questions_of(request, methods, size)):
            effect = effect_of(request, question)
            mean[i, j] = effect.mid
            sd[i, j] = OF_A_METHOD * (effect.high - effect.low) / (2 * NORMAL_95)
    together = correlation(questions_of(request, methods, sizes[-1]), posterior())
    return Effects(tuple(methods), tuple(sizes), mean, sd, together)
