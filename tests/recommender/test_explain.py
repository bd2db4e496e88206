"""What is said of a choice: why its precision, and what it would be at other amounts of data."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from advisor.domain.recipe import Recipe
from advisor.recommender.explain import _other_samples, _precision


@pytest.mark.parametrize(("mixed", "said"), [("fp16", "stops the loss scaler"), ("bf16", "steps are rounded away")])
def test_why_weights_are_float32_is_what_the_sixteen_bits_cannot(candidate: Any, mixed: str, said: str) -> None:
    recipe = Recipe.model_validate({"method": "full", "dtype": "float32", "mixed_precision": mixed})
    choice = candidate("full").model_copy(update={"recipe": recipe})
    question: Any = SimpleNamespace(request=SimpleNamespace(optimizer=None))
    assert said in _precision(question, choice)[0]


@pytest.mark.parametrize(
    ("samples", "numbers"),
    [(100, [10, 1_000, 10_000]), (99, [990, 9_900]), (10**8, [10**7, 10**9]), (10**9, [10**8])],
)
def test_a_tenth_ten_and_a_hundred_times_the_data_are_asked_about_where_they_make_sense(
    samples: int, numbers: list[int]
) -> None:
    asked: list[int] = []
    choice: Any = SimpleNamespace(quality=object(), recipe=SimpleNamespace(method="lora"))
    choice.model_copy = lambda update: choice
    costs: Any = SimpleNamespace(quality=lambda candidate, spec, number: asked.append(number))
    question: Any = SimpleNamespace(
        workload=SimpleNamespace(samples=samples), spec=None, request=SimpleNamespace(tolerance_points=1.0)
    )
    policy: Any = SimpleNamespace(rank=lambda candidates, tolerance: SimpleNamespace(ranked=candidates))
    assert _other_samples(question, policy, [choice], choice, costs) == []
    assert asked == numbers
