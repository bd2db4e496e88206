"""Fits the quality model: a hierarchical linear model on asinh(effect), then a spread that is checked out of study.

Shapes here: N cells, P features, G variances. y[N] = X[N,P] b + level of a setting without full fine-tuning +
study terms + noise, b ~ N(0, prior of its group). Study terms (study, study x kind, study x method, study x
setting) make one study count once, however many rows it printed: its rows share them. All variances are
found by maximising the marginal likelihood (empirical Bayes); everything after is closed form.

The spread of a new study around the prediction is not read off the variances. It is fitted to the
residuals of studies that were left out, each study having one unit of weight, so that the interval is as wide
as the model was wrong. Deterministic: no sampling, no seeds.
"""

# pyright: reportUnknownMemberType=false
# scipy has no types: what its functions return is annotated

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy import optimize

from advisor.domain.findings import Study
from advisor.literature.quality.features import (
    SPREAD_FEATURES,
    StudyDefaults,
    StudySetting,
    at_possible_sizes,
    spread_features,
)
from advisor.literature.quality.observations import QualityObservation, all_cells, usual
from advisor.literature.quality.study_blocks import (
    STUDY_TERMS,
    Design,
    Feature,
    Floats,
    group_index,
    matrix,
    negative_likelihood,
    solve,
)

SPREAD_RIDGE: Final = 0.5
"""Prior standard deviation of a spread coefficient: 1.6-fold more or less spread is common, 3-fold is not."""
SHRINK: Final = 0.5
"""Share of a contrast that one study's word moves us."""
MOST_DOUBT: Final = 25.0
"""Points^2. cosh grows without bound where a mean is far below 0, the doubt about it does not."""
STRETCH: Final = 1.05
"""How far quantiles are moved outwards; chosen so that nested leave-one-study-out coverage is near 0.90 both over
studies and over rows (benchmarks/quality_loso.py)."""
LEVELS: Final = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99)
"""Quantiles of the standardised residual that are stored."""


@dataclass(frozen=True, slots=True)
class Location:
    """Posterior of the coefficients: `mean`[P], `covariance`[P,P]; `by_study` splits the mean by study."""

    names: tuple[Feature, ...]
    log_variances: Floats
    mean: Floats
    covariance: Floats
    by_study: dict[str, Floats]

    def predict(self, questions: Sequence[StudySetting]) -> tuple[Floats, Floats]:
        """(mean[Q], variance[Q]) of asinh(effect) from the coefficients, and from the size where it is unknown."""
        x = matrix(self.names, questions)
        mean = x @ self.mean
        variance = np.einsum("ij,jk,ik->i", x, self.covariance, x)
        for row, question in enumerate(questions):
            if possible := at_possible_sizes(question):
                variance[row] += np.mean((matrix(self.names, possible) @ self.mean - mean[row]) ** 2)
        return mean, variance


def _minimum(loss: Callable[..., Any], start: Floats | list[float], **more: Any) -> Floats:
    """Where L-BFGS-B, begun at `start`, finds the least loss; `more` is scipy's."""
    return np.asarray(optimize.minimize(loss, start, method="L-BFGS-B", **more).x, dtype=float)


def fit_variances(data: Design, start: Floats | None = None, iterations: int = 60) -> Floats:
    """Log variances [G + study terms + noise] that maximise the marginal likelihood."""
    groups, _ = group_index(data)
    first = np.full(len(groups) + len(STUDY_TERMS) + 1, np.log(0.5)) if start is None else start
    return _minimum(
        negative_likelihood,
        first,
        args=(data,),
        jac=True,
        bounds=[(-7.0, 4.0)] * len(first),
        options={"maxiter": iterations},
    )


def fit_location(data: Design, log_variances: Floats) -> Location:
    """The coefficients given the variances: closed form."""
    _, of = group_index(data)
    prior = np.exp(log_variances)[of]
    solved = solve(data, log_variances)
    posterior = np.diag(prior) - prior[:, None] * solved.inner * prior
    shares = zip(data.blocks, solved.weights, strict=True)
    by_study = {block.study: prior * (block.x.T @ weights) for block, weights in shares}
    return Location(data.names, log_variances, prior * solved.pull, posterior, by_study)


@dataclass(frozen=True, slots=True)
class HeldOutStudy:
    """A referenced cell as the model saw it with its whole study left out: asinh mean and coefficient variance.

    `blind` is the question as a newcomer puts it, who cannot know whose the method is nor how rates were found:
    both at their averages over the other studies (`observations.usual`).
    """

    cell: QualityObservation
    blind: StudySetting
    mean: float
    variance: float
    told_mean: float
    told_variance: float


def leave_studies_out(
    data: Design,
    log_variances: Floats,
    refit: int = 12,
    assume: Callable[[Sequence[QualityObservation]], StudyDefaults] = usual,
) -> list[HeldOutStudy]:
    """Each study predicted from the others; the variances are fitted anew without it (`refit` steps from the start).

    `assume` says of the others' cells what the blind question takes a new study to be.
    """
    out: list[HeldOutStudy] = []
    for block in data.blocks:
        rest = data.without(block.study)
        variances = fit_variances(rest, log_variances, refit) if refit else log_variances
        location = fit_location(rest, variances)
        held = block.cells
        others = assume(rest.cells)
        blind = [others.blind(cell.question) for cell in held]
        mean, variance = location.predict(blind)
        told = location.predict([cell.question for cell in held])
        columns = (held, blind, mean.tolist(), variance.tolist(), told[0].tolist(), told[1].tolist())
        out += [HeldOutStudy(*row) for row in zip(*columns, strict=True)]
    return out


@dataclass(frozen=True, slots=True)
class Spread:
    """Scale in points is exp(coefficients . spread features); `quantiles` are of residual / scale at LEVELS."""

    names: tuple[str, ...]
    coefficients: Floats
    quantiles: Floats

    def scale(self, questions: Sequence[StudySetting], mean: Floats, variance: Floats) -> Floats:
        """[Q] points by which a new study's row lies around sinh(mean), the coefficients' own doubt included."""
        z = spread_matrix(self.names, questions, mean)
        return np.sqrt(np.exp(2 * z @ self.coefficients) + doubt(mean, variance))


def spread_matrix(names: Sequence[str], questions: Sequence[StudySetting], mean: Floats) -> Floats:
    """[Q, len(names)] spread features."""
    rows = (spread_features(question, float(m)) for question, m in zip(questions, mean, strict=True))
    return np.array([[row[name] for name in names] for row in rows])


def doubt(mean: Floats, variance: Floats) -> Floats:
    """Variance in points^2 that the coefficients' variance in asinh(points) amounts to, at most MOST_DOUBT."""
    return np.minimum(np.maximum(variance, 0) * np.cosh(mean) ** 2, MOST_DOUBT)


def fit_spread(
    left_out: Sequence[HeldOutStudy], stretch: float = STRETCH, names: tuple[str, ...] = SPREAD_FEATURES
) -> Spread:
    """Spread from left-out rows. A study weighs as the root of its rows: three rows tell less of tails than 300.

    Coefficients minimise a Laplace likelihood with a ridge; then quantiles are read off, and moved outwards by
    `stretch` (a few studies say less about the tails than their rows suggest).
    """
    rows = [one for one in left_out if one.cell.referenced]
    counts: dict[str, int] = {}
    for one in rows:
        counts[one.cell.study] = counts.get(one.cell.study, 0) + len(one.cell.effects)
    flat = [(one, effect) for one in rows for effect in one.cell.effects]
    mean = np.array([one.mean for one, _ in flat])
    residual = np.array([effect for _, effect in flat]) - np.sinh(mean)
    weight = np.array([counts[one.cell.study] ** -0.5 for one, _ in flat])
    weight *= len(counts) / weight.sum()
    z = spread_matrix(names, [one.blind for one, _ in flat], mean)
    extra = doubt(mean, np.array([one.variance for one, _ in flat]))

    def loss(b: Floats) -> float:
        scale = np.sqrt(np.exp(2 * z @ b) + extra)
        fitted = np.sum(weight * (np.log(scale) + np.sqrt(2) * np.abs(residual) / scale))
        return float(fitted + 0.5 * np.sum(b[1:] ** 2) / SPREAD_RIDGE**2)

    coefficients = _minimum(loss, np.ones(1).tolist() + [0.0] * (z.shape[1] - 1))
    standard = residual / np.sqrt(np.exp(2 * z @ coefficients) + extra)
    order = np.argsort(standard, kind="stable")
    reached = (np.cumsum(weight[order]) - 0.5 * weight[order]) / weight.sum()
    quantiles = np.interp(LEVELS, reached, standard[order])
    middle = quantiles[LEVELS.index(0.5)]
    return Spread(names, coefficients, middle + (quantiles - middle) * stretch)


def attention_penalty(cells: Sequence[QualityObservation]) -> tuple[float, float, tuple[str, ...]]:
    """What adapting attention alone costs a decoder: (points at 10^4 samples, more per decade below, studies).

    Least squares on pairs of cells that differ in their targets only. It stays out of the hierarchical fit, whose
    order of methods it made worse (0.86 to 0.80 out of study), and is halved: SHRINK stands for a prior of
    nothing as wide as one study's say.
    """
    pairs: dict[tuple[str, str], dict[bool, QualityObservation]] = {}
    for cell in cells:
        if cell.question.architecture == "decoder" and cell.question.kind == "low rank":
            pairs.setdefault((cell.setting, cell.question.method), {})[cell.question.attention_only] = cell
    both = [pair for pair in pairs.values() if len(pair) == 2]
    if not both:
        return 0.0, 0.0, ()
    below = np.array([max(0.0, 4 - pair[True].question.log_samples) for pair in both])
    cost = np.array([pair[True].effect - pair[False].effect for pair in both])
    x = np.column_stack([np.ones(len(both)), below])
    weights = np.linalg.solve(x.T @ x + np.diag([0.1, 0.1]), x.T @ cost) * SHRINK
    return min(0.0, float(weights[0])), min(0.0, float(weights[1])), tuple(sorted({p[True].study for p in both}))


def cells_for_fit(studies: Iterable[Study]) -> list[QualityObservation]:
    """Every cell, in an order that does not depend on the file system."""
    return sorted(all_cells(studies), key=lambda c: (c.study, c.setting, c.question.method, c.question.attention_only))
