"""The odds of choosing: they add up, know what methods have in common, and full fine-tuning is the fixed point."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.catalog.findings.method_names import KIND_OF
from advisor.domain.quantity import Quantity
from advisor.literature.quality.choice_odds import choice_odds, correlation
from advisor.literature.quality.features import StudySetting
from advisor.literature.quality.posterior import posterior
from advisor.literature.quality.quality_prediction import answer

METHODS = sorted(set(KIND_OF) - {"no-tuning"})


def asked(method: str, samples: int | None = 2_000) -> StudySetting:
    return StudySetting(method, "decoder", "instruction", samples, 8 * 10**9)


def effect(mid: float, half: float = 5.0) -> Quantity:
    return Quantity(low=mid - half, mid=mid, high=mid + half, unit="score", basis="modelled", why="made by hand")


@given(names=st.lists(st.sampled_from(METHODS), min_size=2, max_size=6, unique=True), tolerance=st.floats(0, 5))
@settings(max_examples=25, deadline=None)
def test_chances_to_be_best_are_one_together_and_no_loss_is_negative(names, tolerance):
    questions = [asked(name) for name in names]
    found = choice_odds(questions, [answer(posterior(), one).effect for one in questions], tolerance)
    assert sum(one.best for one in found) == pytest.approx(1)
    for one in found:
        assert one.loss >= 0
        assert one.best <= one.near + 1e-9
    assert found[0].above_first == 0.5


def test_a_method_that_is_expected_better_loses_less_and_wins_more():
    better, worse = choice_odds([asked("lora"), asked("dora")], [effect(3), effect(0)], 1.0)
    assert better.loss < worse.loss
    assert better.best > worse.best
    assert worse.above_first < 0.5


def test_the_difference_of_two_methods_of_one_kind_is_surer_than_of_two_kinds():
    like = choice_odds([asked("lora"), asked("dora")], [effect(0), effect(1)], 1.0)[1]
    unlike = choice_odds([asked("lora"), asked("prompt-tuning")], [effect(0), effect(1)], 1.0)[1]
    assert like.above_first > unlike.above_first > 0.5


@given(names=st.lists(st.sampled_from(METHODS), min_size=2, max_size=6, unique=True))
@settings(max_examples=25, deadline=None)
def test_a_correlation_is_one(names):
    matrix = correlation([asked(name) for name in names], posterior())
    assert np.allclose(np.diag(matrix), 1)
    assert np.allclose(matrix, matrix.T)
    assert np.linalg.eigvalsh(matrix).min() > -1e-9


def test_full_fine_tuning_is_the_fixed_point_and_goes_with_nothing():
    matrix = correlation([asked("full"), asked("lora")], posterior())
    assert matrix[0, 1] == 0
    found = choice_odds(
        [asked("full"), asked("lora")], [Quantity.exact(0.0, "score", "measured", "it"), effect(-30)], 1.0
    )
    assert found[0].best == 1
    assert found[0].loss == 0
    assert found[1].loss == pytest.approx(30, rel=0.02)
