"""The cells as arrays, a block for each study, and the likelihood of the variances.

Two cells covary through the coefficients they share, and within a study through its own terms as well:

    covariance = D + X prior X',  D = one block a study

So nothing of the size of all cells is ever factored: each study's block is, and a matrix of P features (Woodbury).
Exact, and a study that is left out is a block less.
"""

# pyright: reportUnknownMemberType=false
# scipy has no types: what its functions return is annotated

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from advisor.literature.quality.features import GROUPS, StudySetting, features, prior_features
from advisor.literature.quality.observations import QualityObservation

Floats = NDArray[np.float64]
Feature = tuple[str, str]

STUDY_TERMS: Final = ("study", "study x kind", "study x method", "study x setting")
FREE_LEVEL: Final = 1e3
"""Prior variance of the level of a setting without full fine-tuning: large enough to say nothing."""
LEAST_NOISE: Final = 1e-3
"""Variance that every cell has besides, so that a block can be factored."""


@dataclass(frozen=True, slots=True)
class StudyBlock:
    """The n cells of a study: `x`[n,P], `y`[n], `terms` the n x n indicator of each study term.

    `free`[n,n] marks cells of one setting without full fine-tuning; `noise`[n] is the share of the noise variance that
    is left in each cell's mean: rows of one cell are far from independent.
    """

    study: str
    cells: tuple[QualityObservation, ...]
    x: Floats
    y: Floats
    terms: tuple[Floats, ...]
    free: Floats
    noise: Floats


@dataclass(frozen=True, slots=True)
class Design:
    """The studies' blocks, and the P features of `x` by name."""

    names: tuple[Feature, ...]
    blocks: tuple[StudyBlock, ...]

    @property
    def cells(self) -> list[QualityObservation]:
        return [cell for block in self.blocks for cell in block.cells]

    def without(self, study: str) -> Design:
        return Design(self.names, tuple(block for block in self.blocks if block.study != study))


def design(cells: Sequence[QualityObservation], groups: Iterable[str] = GROUPS) -> Design:
    """Blocks of the cells, with the features of `groups` only (a simpler model is a shorter list)."""
    wanted = set(groups)
    methods = sorted({cell.question.method for cell in cells})
    names = tuple(name for name in prior_features(methods) if name[0] in wanted)
    ordered = sorted(cells, key=lambda cell: cell.study)
    by_study = groupby(ordered, key=lambda cell: cell.study)
    return Design(names, tuple(_block(study, tuple(mine), names) for study, mine in by_study))


def _block(study: str, cells: tuple[QualityObservation, ...], names: Sequence[Feature]) -> StudyBlock:
    def same(values: Iterable[str]) -> Floats:
        column = np.array(list(values))
        return (column[:, None] == column[None, :]).astype(float)

    of_setting = same(cell.setting for cell in cells)
    free = np.array([not cell.referenced for cell in cells])
    repeats = np.array([max(1, len(cell.effects)) for cell in cells], dtype=float)
    return StudyBlock(
        study,
        cells,
        matrix(names, [cell.question for cell in cells]),
        np.arcsinh(np.array([cell.effect for cell in cells])),
        (
            np.ones((len(cells), len(cells))),
            same(cell.question.kind for cell in cells),
            same(cell.question.method for cell in cells),
            of_setting,
        ),
        of_setting * free[:, None],
        0.3 + 0.7 / repeats,
    )


def matrix(names: Sequence[Feature], questions: Sequence[StudySetting]) -> Floats:
    """[len(questions), P] feature values; what the model has no name for is left out."""
    index = {name: i for i, name in enumerate(names)}
    out = np.zeros((len(questions), len(names)))
    for row, question in enumerate(questions):
        for name, value in features(question).items():
            if name in index:
                out[row, index[name]] = value
    return out


def group_index(data: Design) -> tuple[list[str], NDArray[np.intp]]:
    """The groups that the design's features are of, and each feature's place among them."""
    present = [group for group in GROUPS if any(name[0] == group for name in data.names)]
    return present, np.array([present.index(name[0]) for name in data.names])


@dataclass(frozen=True, slots=True)
class SolvedCovariance:
    """The covariance of all cells, solved: `inner`[P,P] is X' C^-1 X, `pull`[P] X' C^-1 y.

    `inverses`[n,n] are the study's own blocks of C^-1 and `weights`[n] of C^-1 y; `loss` is half of y' C^-1 y and of
    the logarithm of C's determinant.
    """

    loss: float
    inner: Floats
    pull: Floats
    inverses: tuple[Floats, ...]
    weights: tuple[Floats, ...]


def solve(data: Design, log_variances: Floats) -> SolvedCovariance:
    """C^-1 at the given log variances [G + study terms + noise], by blocks."""
    groups, of = group_index(data)
    variances = np.exp(log_variances)
    prior = variances[of]
    own = [_solved_block(block, variances[len(groups) :]) for block in data.blocks]
    gram = sum(
        (block.x.T @ dx for block, (_, dx, _, _) in zip(data.blocks, own, strict=True)), np.zeros((len(of),) * 2)
    )
    side = sum((block.x.T @ dy for block, (_, _, dy, _) in zip(data.blocks, own, strict=True)), np.zeros(len(of)))
    root = np.sqrt(prior)
    core = np.eye(len(of)) + root[:, None] * gram * root
    factor = _factor(core)
    middle = root[:, None] * _solve(factor, np.diag(root))
    spread = gram @ middle
    pull = side - spread @ side
    weights = tuple(dy - dx @ (middle @ side) for _, dx, dy, _ in own)
    quadratic = sum(float(block.y @ mine) for block, mine in zip(data.blocks, weights, strict=True))
    determinant = sum(half for _, _, _, half in own) + float(np.log(np.diag(factor)).sum())
    inverses = tuple(inverse - dx @ middle @ dx.T for inverse, dx, _, _ in own)
    return SolvedCovariance(0.5 * quadratic + determinant, gram - spread @ gram, pull, inverses, weights)


def _solved_block(block: StudyBlock, variances: Floats) -> tuple[Floats, Floats, Floats, float]:
    """(D^-1, D^-1 x, D^-1 y, half of log |D|) of a study's own covariance."""
    own = FREE_LEVEL * block.free
    for variance, term in zip(variances, block.terms, strict=False):
        own = own + variance * term
    own[np.diag_indices_from(own)] += variances[-1] * block.noise + LEAST_NOISE
    factor = _factor(own)
    inverse = _solve(factor, np.eye(len(block.y)))
    return inverse, inverse @ block.x, inverse @ block.y, float(np.log(np.diag(factor)).sum())


def negative_likelihood(log_variances: Floats, data: Design) -> tuple[float, Floats]:
    """Negative log marginal likelihood and its gradient, with a weak prior that keeps variances within reason."""
    groups, of = group_index(data)
    variances = np.exp(log_variances)
    solved = solve(data, log_variances)
    of_feature = np.diag(solved.inner) - solved.pull**2
    gradient = np.array(
        [
            *(0.5 * variances[i] * of_feature[of == i].sum() for i in range(len(groups))),
            *(0.0 for _ in STUDY_TERMS),
            0.0,
        ]
    )
    for block, inverse, weights in zip(data.blocks, solved.inverses, solved.weights, strict=True):
        middle = inverse - np.outer(weights, weights)
        for i, term in enumerate(block.terms, start=len(groups)):
            gradient[i] += 0.5 * variances[i] * np.sum(middle * term)
        gradient[-1] += 0.5 * variances[-1] * np.sum(np.diag(middle) * block.noise)
    pull = (log_variances - np.log(0.5)) / 9
    return float(solved.loss + 0.5 * pull @ (log_variances - np.log(0.5))), gradient + pull


def _factor(covariance: Floats) -> Floats:
    """The lower Cholesky factor of a covariance; above its diagonal lies what was there before."""
    return np.asarray(linalg.cho_factor(covariance, lower=True, check_finite=False)[0], dtype=np.float64)


def _solve(factor: Floats, right: Floats) -> Floats:
    """covariance^-1 right, by its Cholesky factor."""
    return np.asarray(linalg.cho_solve((factor, True), right, check_finite=False), dtype=np.float64)
