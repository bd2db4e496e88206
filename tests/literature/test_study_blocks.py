"""What is solved study by study is what the covariance of all cells at once gives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize
from scipy.linalg import block_diag

from advisor.domain.findings import Finding, Study
from advisor.literature.quality.hierarchical_fit import cells_for_fit
from advisor.literature.quality.study_blocks import (
    FREE_LEVEL,
    LEAST_NOISE,
    STUDY_TERMS,
    Design,
    design,
    group_index,
    negative_likelihood,
    solve,
)


def row(method: str, value: float, full: float | None, task: str, table: str) -> Finding:
    return Finding(
        table=table,
        model="M",
        architecture="decoder",
        task=task,
        task_type="NLU",
        samples=3_000,
        metric="accuracy",
        method=method,
        value=value,
        full_value=full,
        address="page 1",
    )


@pytest.fixture(scope="module")
def data() -> Design:
    """Five studies of unequal size; two of them have settings without full fine-tuning."""
    rng = np.random.default_rng(3)
    studies = [
        Study(
            id=f"s{number}",
            title="s",
            url="https://example.org",
            findings=tuple(
                row(method, 70 + rng.normal(0, 3), None if number > 2 else 70, f"task {i}", f"T{i}")
                for i in range(1 + number)
                for method in ("lora", "bitfit", "prompt-tuning", "vera")[: 2 + number % 3]
            ),
        )
        for number in range(5)
    ]
    return design(cells_for_fit(studies))


def variances_for(data: Design, seed: int) -> np.ndarray:
    groups, _ = group_index(data)
    return np.random.default_rng(seed).normal(-1, 1, len(groups) + len(STUDY_TERMS) + 1)


@pytest.mark.parametrize("seed", range(3))
def test_blocks_give_what_the_whole_covariance_gives(data: Design, seed: int):
    log_variances = variances_for(data, seed)
    variances = np.exp(log_variances)
    groups, of = group_index(data)
    own = variances[len(groups) :]
    x = np.vstack([block.x for block in data.blocks])
    y = np.concatenate([block.y for block in data.blocks])
    covariance = (x * variances[of]) @ x.T + block_diag(
        *(
            FREE_LEVEL * block.free
            + sum(variance * term for variance, term in zip(own[:-1], block.terms, strict=True))
            + np.diag(own[-1] * block.noise + LEAST_NOISE)
            for block in data.blocks
        )
    )
    inverse = np.linalg.inv(covariance)
    solved = solve(data, log_variances)
    loss = 0.5 * y @ inverse @ y + 0.5 * np.linalg.slogdet(covariance)[1]
    assert solved.loss == pytest.approx(loss, rel=1e-6)
    assert np.concatenate(solved.weights) == pytest.approx(inverse @ y, abs=1e-6)
    assert solved.inner == pytest.approx(x.T @ inverse @ x, abs=1e-6)
    assert solved.pull == pytest.approx(x.T @ inverse @ y, abs=1e-6)
    start = 0
    for block, mine in zip(data.blocks, solved.inverses, strict=True):
        stop = start + len(block.y)
        assert mine == pytest.approx(inverse[start:stop, start:stop], abs=1e-6)
        start = stop


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_is_the_slope_of_the_likelihood(data: Design, seed: int):
    at = variances_for(data, seed)
    slope = optimize.approx_fprime(at, lambda v: negative_likelihood(v, data)[0], 1e-6)
    assert negative_likelihood(at, data)[1] == pytest.approx(slope, abs=1e-3, rel=1e-4)


def test_a_study_left_out_is_a_block_less(data: Design):
    rest = data.without("s1")
    assert [block.study for block in rest.blocks] == ["s0", "s2", "s3", "s4"]
    assert len(rest.cells) == len(data.cells) - len(data.blocks[1].cells)
    assert rest.names == data.names
