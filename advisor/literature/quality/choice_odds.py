"""What choosing each of several methods may lose: their effects drawn together, with what they have in common.

Two methods of one kind do well or badly on the same new data: so their difference is surer than two intervals
side by side suggest. Effects are drawn with the correlation that the fitted model gives them in one new study and
with half the intervals that were predicted for each (OF_A_METHOD).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from advisor.domain.quantity import Quantity
from advisor.domain.units import weakest
from advisor.literature.quality.features import StudySetting
from advisor.literature.quality.posterior import Posterior, posterior

Floats = NDArray[np.float64]
DRAWS: Final = 4000
OF_A_METHOD: Final = 0.5
"""Share of an interval that is a method's: the rest is single rows about their method's mean, which no choice is made
by. At a half the losses and the chances to be best come true on studies left out (benchmarks/choice_odds.py)."""
ENDS: Final = (0.05, 0.95)
NORMAL_95: Final = 1.6448536269514722


@dataclass(frozen=True, slots=True)
class ChoiceOdds:
    """Of choosing one method: expected points lost to the best of all, chance to be it, near it, above the first."""

    loss: float
    best: float
    near: float
    above_first: float


def choice_odds(
    questions: Sequence[StudySetting], effects: Sequence[Quantity], tolerance: float, *, share: float = OF_A_METHOD
) -> tuple[ChoiceOdds, ...]:
    """The odds of each method among them, in their order.

    Args:
        questions: one a method, all of one model and task.
        effects: predicted for each, 90 % intervals in points against full fine-tuning.
        tolerance: points that count as no loss.
        share: of each interval that the method is drawn from.
    """
    drawn = _draw(questions, effects, share)
    top = drawn.max(axis=1, keepdims=True)
    lost = top - drawn
    ties = (lost <= 0).sum(axis=1, keepdims=True)
    return tuple(
        ChoiceOdds(
            loss=float(lost[:, i].mean()),
            best=float(((lost[:, i] <= 0) / ties[:, 0]).mean()),
            near=float((lost[:, i] <= tolerance).mean()),
            above_first=float((drawn[:, i] > drawn[:, 0]).mean() + (drawn[:, i] == drawn[:, 0]).mean() / 2),
        )
        for i in range(len(questions))
    )


def difference(
    questions: Sequence[StudySetting], effects: Sequence[Quantity], *, share: float = OF_A_METHOD
) -> tuple[Quantity, float]:
    """Points that the first of two methods is expected above the second, and how likely it is above it at all.

    Args:
        questions, effects, share: as of `choice_odds`, of the two.
    """
    drawn = _draw(questions, effects, share)
    gained = drawn[:, 0] - drawn[:, 1]
    mid = effects[0].mid - effects[1].mid
    low, high = (float(end) for end in np.quantile(gained, ENDS))
    chance = float((gained > 0).mean() + (gained == 0).mean() / 2)
    basis = weakest(effects[0].basis, effects[1].basis)
    said = Quantity(low=min(low, mid), mid=mid, high=max(high, mid), unit="score", basis=basis, why="drawn together")
    return said, chance


def _draw(questions: Sequence[StudySetting], effects: Sequence[Quantity], share: float) -> Floats:
    """[DRAWS, methods] effects in points, the same for the same question."""
    normal = np.random.default_rng(0).standard_normal((DRAWS, len(questions)))
    together = normal @ _root(correlation(questions, posterior())).T
    columns: list[Floats] = []
    for i, effect in enumerate(effects):
        below, above = (share * side / NORMAL_95 for side in (effect.mid - effect.low, effect.high - effect.mid))
        z = together[:, i]
        columns.append(effect.mid + z * np.where(z < 0, below, above))
    return np.column_stack(columns)


def correlation(questions: Sequence[StudySetting], model: Posterior) -> Floats:
    """[methods, methods] between their effects in one new study; full fine-tuning's, always 0, goes with nothing."""
    parts = [model.vector(one) for one in questions]
    variances = model.fit.variances
    size = len(questions)
    out = np.zeros((size, size))
    for i, (x, unseen) in enumerate(parts):
        for j, (other, _) in enumerate(parts):
            shared = float(x @ model.covariance @ other) + variances["study"] + variances["study x setting"]
            if questions[i].kind == questions[j].kind:
                shared += variances["study x kind"]
            if i == j:
                shared += variances["study x method"] + variances["noise"] + unseen
            out[i, j] = shared
    scale = np.sqrt(np.diag(out))
    out /= scale[:, None] * scale[None, :]
    for i, one in enumerate(questions):
        if one.kind == "full":
            out[i, :] = out[:, i] = 0.0
            out[i, i] = 1.0
    return out


def _root(matrix: Floats) -> Floats:
    """A square root of a correlation matrix, rounding errors below 0 taken as 0."""
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.sqrt(np.maximum(values, 0.0))
