"""What a probe answers from its trainings: the choice is one that was trained, and unsure is said where it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from advisor.domain.quantity import Quantity
from advisor.domain.questions.probing import ProbedMethod
from advisor.experiments.probe_answer import NO_DIFFERENCE, SURE, _choice, _verdict
from advisor.experiments.score_model import Draws

SCORE = Quantity(low=70, mid=80, high=90, unit="score", basis="modelled", why="test")


def probed(name: str, loss: float, trainings: int = 1, seconds: float | None = 60.0) -> ProbedMethod:
    return ProbedMethod(
        method=name, rate=1e-4, prior=SCORE, score=SCORE, best=0.5, near=0.5, loss=loss, trainings=trainings,
        seconds=seconds,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("methods", "chosen"),
    [
        ([], None),
        ([probed("a", 0.0, trainings=0)], None),
        ([probed("a", 0.0, trainings=0), probed("b", 5.0)], "b"),
        ([probed("a", 1.0), probed("b", 2.0)], "a"),
        ([probed("a", 1.0), probed("b", 1.0 + NO_DIFFERENCE / 2, seconds=30.0)], "b"),
        ([probed("a", 1.0), probed("b", 1.0 + 2 * NO_DIFFERENCE, seconds=30.0)], "a"),
        # how long one takes is not known: the other is taken
        ([probed("a", 1.0, seconds=None), probed("b", 1.0 + NO_DIFFERENCE / 2)], "b"),
    ],
)
def test_the_choice_is_trained_loses_least_and_of_equals_is_the_quickest(methods: list[ProbedMethod], chosen: Any):
    found = _choice(methods)
    assert (found.method if found is not None else None) == chosen


def session(scores: tuple[float, ...] = (0.7, 0.8), target: float | None = 0.75, labels: tuple[str, ...] = ()) -> Any:
    rows = [{"text": "x", "label": "a"}] * 6 + [{"text": "x", "label": "b"}] * 4
    return SimpleNamespace(
        request=SimpleNamespace(metric="accuracy", splits=SimpleNamespace(labels=labels)),
        query=SimpleNamespace(target_score=target),
        done={number: SimpleNamespace(score=score) for number, score in enumerate(scores)},
        rows={"evaluation": rows},
        sizes=(100,),
        arm_of=lambda cell: 0,
    )


def draws(share: float, goal: float) -> Draws:
    """A hundred draws of one arm, of which so large a share reaches the goal."""
    scores = np.where(np.arange(100) < round(100 * share), goal + 1, goal - 1).astype(float)[:, None]
    return Draws(scores, np.ones(100), np.ones(100))


@pytest.mark.parametrize(
    ("share", "verdict"),
    [(1.0, "go"), (SURE, "go"), (SURE - 0.01, "unsure"), (0.5, "unsure"), (1.01 - SURE, "unsure"), (0.0, "no-go")],
)
@pytest.mark.parametrize("target", [0.75, None])
def test_go_and_no_go_are_said_where_it_is_sure_enough(share: float, verdict: str, target: float | None):
    # without a target it is two points above the commonest label, which six of ten rows have
    goal = 75.0 if target else 62.0
    found, because = _verdict(session(target=target, labels=("a", "b")), probed("lora", 1.0), draws(share, goal))
    assert found == verdict
    assert f"{share:.0%} chance" in because


def test_what_was_never_trained_never_moved_or_was_not_asked_for_is_said_as_that():
    assert _verdict(session(), None, draws(1, 75))[0] == "planned"
    assert _verdict(session(scores=(0.7, 0.7)), probed("a", 1.0), draws(1, 75))[0] == "no-go"
    assert _verdict(session(target=None), probed("a", 1.0), draws(1, 75))[0] == "unsure"
