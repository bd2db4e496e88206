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
from numpy.typing import NDArray
from scipy import linalg, optimize

from advisor.domain.findings import Study
from advisor.literature.quality.features import (
    GROUPS,
    SPREAD_FEATURES,
    StudyDefaults,
    StudySetting,
    at_possible_sizes,
    features,
    prior_features,
    spread_features,
)
from advisor.literature.quality.observations import QualityObservation, all_cells, usual

Floats = NDArray[np.float64]
Feature = tuple[str, str]

STUDY_TERMS: Final = ("study", "study x kind", "study x method", "study x setting")
SPREAD_RIDGE: Final = 0.5
"""Prior standard deviation of a spread coefficient: 1.6-fold more or less spread is common, 3-fold is not."""
SHRINK: Final = 0.5
"""Share of a contrast that one study's word moves us."""
MOST_DOUBT: Final = 25.0
"""Points^2. cosh grows without bound where a mean is far below 0, the doubt about it does not."""
STRETCH: Final = 1.2
"""How far quantiles are moved outwards; chosen so that nested leave-one-study-out coverage is near 0.90 both over
studies and over rows (benchmarks/quality_loso.py)."""
FREE_LEVEL: Final = 1e3
"""Prior variance of the level of a setting without full fine-tuning: large enough to say nothing."""
LEVELS: Final = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99)
"""Quantiles of the standardised residual that are stored."""


@dataclass(frozen=True, slots=True)
class Design:
    """Cells as arrays. `x`[N,P], `y`[N]; `blocks` the N x N indicator of each study term; `repeats`[N] rows a cell."""

    cells: tuple[QualityObservation, ...]
    names: tuple[Feature, ...]
    x: Floats
    y: Floats
    blocks: tuple[Floats, ...]
    free: Floats
    repeats: Floats

    def without(self, study: str) -> Design:
        return self._take([i for i, cell in enumerate(self.cells) if cell.study != study])

    def _take(self, keep: list[int]) -> Design:
        grid = np.ix_(keep, keep)
        return Design(
            tuple(self.cells[i] for i in keep),
            self.names,
            self.x[keep],
            self.y[keep],
            tuple(block[grid] for block in self.blocks),
            self.free[grid],
            self.repeats[keep],
        )


def design(cells: Sequence[QualityObservation], groups: Iterable[str] = GROUPS) -> Design:
    """Arrays of the cells, with the features of `groups` only (a simpler model is a shorter list)."""
    wanted = set(groups)
    methods = sorted({cell.question.method for cell in cells})
    names = tuple(name for name in prior_features(methods) if name[0] in wanted)
    y = np.arcsinh(np.array([cell.effect for cell in cells]))
    study = np.array([cell.study for cell in cells])
    kind = np.array([cell.question.kind for cell in cells])
    method = np.array([cell.question.method for cell in cells])
    setting = np.array([cell.setting for cell in cells])
    free = np.array([not cell.referenced for cell in cells])

    def same(values: NDArray[np.str_]) -> Floats:
        return (values[:, None] == values[None, :]).astype(float)

    of_study, of_setting = same(study), same(setting)
    blocks = (of_study, of_study * same(kind), of_study * same(method), of_setting)
    repeats = np.array([max(1, len(cell.effects)) for cell in cells], dtype=float)
    return Design(tuple(cells), names, matrix(names, [c.question for c in cells]), y, blocks,
                  of_setting * free[:, None], repeats)  # fmt: skip


def matrix(names: Sequence[Feature], questions: Sequence[StudySetting]) -> Floats:
    """[len(questions), P] feature values; what the model has no name for is left out."""
    index = {name: i for i, name in enumerate(names)}
    out = np.zeros((len(questions), len(names)))
    for row, question in enumerate(questions):
        for name, value in features(question).items():
            if name in index:
                out[row, index[name]] = value
    return out


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


def _group_index(data: Design) -> tuple[list[str], NDArray[np.intp]]:
    present = [group for group in GROUPS if any(name[0] == group for name in data.names)]
    return present, np.array([present.index(name[0]) for name in data.names])


def _noise(data: Design) -> Floats:
    """Share of the noise variance left in each cell's mean: rows of one cell are far from independent."""
    return 0.3 + 0.7 / data.repeats


def _factor(covariance: Floats) -> Floats:
    """The lower Cholesky factor of a covariance [N, N]; above its diagonal lies what was there before."""
    return np.asarray(linalg.cho_factor(covariance, lower=True, check_finite=False)[0], dtype=np.float64)


def _solve(factor: Floats, right: Floats) -> Floats:
    """covariance^-1 right, [N] or [N, K], by its Cholesky factor."""
    return np.asarray(linalg.cho_solve((factor, True), right, check_finite=False), dtype=np.float64)


def _minimum(loss: Callable[..., Any], start: Floats | list[float], **more: Any) -> Floats:
    """Where L-BFGS-B, begun at `start`, finds the least loss; `more` is scipy's."""
    return np.asarray(optimize.minimize(loss, start, method="L-BFGS-B", **more).x, dtype=float)


def _objective(log_variances: Floats, data: Design, kernels: list[Floats]) -> tuple[float, Floats]:
    """Negative log marginal likelihood and its gradient, with a weak prior that keeps variances within reason."""
    variances = np.exp(log_variances)
    covariance = FREE_LEVEL * data.free
    for variance, kernel in zip(variances, kernels, strict=False):
        covariance = covariance + variance * kernel
    noise = variances[-1] * _noise(data)
    covariance[np.diag_indices_from(covariance)] += noise + 1e-3
    factor = _factor(covariance)
    weights = _solve(factor, data.y)
    value = 0.5 * data.y @ weights + np.log(np.diag(factor)).sum()
    middle = _solve(factor, np.eye(len(data.y))) - np.outer(weights, weights)
    gradient: list[float] = [
        0.5 * variance * np.sum(middle * kernel) for variance, kernel in zip(variances, kernels, strict=False)
    ]
    gradient.append(0.5 * np.sum(np.diag(middle) * noise))
    pull = (log_variances - np.log(0.5)) / 9
    return float(value + 0.5 * pull @ (log_variances - np.log(0.5))), np.array(gradient) + pull


def fit_variances(data: Design, start: Floats | None = None, iterations: int = 60) -> Floats:
    """Log variances [G + study terms + noise] that maximise the marginal likelihood."""
    groups, of = _group_index(data)
    kernels = [data.x[:, of == i] @ data.x[:, of == i].T for i in range(len(groups))] + list(data.blocks)
    first = np.full(len(kernels) + 1, np.log(0.5)) if start is None else start
    return _minimum(
        _objective,
        first,
        args=(data, kernels),
        jac=True,
        bounds=[(-7.0, 4.0)] * len(first),
        options={"maxiter": iterations},
    )


def fit_location(data: Design, log_variances: Floats) -> Location:
    """The coefficients given the variances: closed form."""
    groups, of = _group_index(data)
    variances = np.exp(log_variances)
    prior = variances[of]
    covariance = FREE_LEVEL * data.free + (data.x * prior) @ data.x.T
    for variance, block in zip(variances[len(groups) : -1], data.blocks, strict=True):
        covariance = covariance + variance * block
    covariance[np.diag_indices_from(covariance)] += variances[-1] * _noise(data) + 1e-3
    factor = _factor(covariance)
    weights = _solve(factor, data.y)
    gain = data.x * prior
    posterior = np.diag(prior) - gain.T @ _solve(factor, gain)
    study = np.array([cell.study for cell in data.cells])
    by_study = {str(s): gain[study == s].T @ weights[study == s] for s in sorted(set(study))}
    return Location(data.names, log_variances, gain.T @ weights, posterior, by_study)


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
    for study in sorted({cell.study for cell in data.cells}):
        rest = data.without(study)
        variances = fit_variances(rest, log_variances, refit) if refit else log_variances
        location = fit_location(rest, variances)
        held = [cell for cell in data.cells if cell.study == study]
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
