"""What a finished search tells the catalogue: each method's best trial beside full fine-tuning's."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest

from advisor.domain.recipe import Recipe
from advisor.domain.tuning import TunedStudy, TunedTrial
from advisor.domain.workload import Workload
from advisor.tuner.results.records import findings_of
from advisor.tuner.results.summary import _state
from tests.tuner.studies import toy_request

KEPT = Path(__file__).parent.parent / "golden" / "schema" / "tuned-study-1.json"
WORKLOAD = Workload(model="toy", task="sequence-classification", samples=48, seq_len=16)


def searched(metric: str, scores: list[tuple[str, float]], objectives: tuple[str, ...] = ("quality",)) -> TunedStudy:
    """A study of such trials, (method, score) each; a second objective's value is the trial's number."""
    trials = tuple(
        TunedTrial(
            number=number,
            state="complete",
            method=method,
            recipe=Recipe(method=method, learning_rate=10.0 ** -(number + 1)),
            workload=WORKLOAD,
            values=tuple(score if one == "quality" else float(number) for one in objectives),
        )
        for number, (method, score) in enumerate(scores)
    )
    kept = TunedStudy.from_document(json.loads(KEPT.read_text()))
    return kept.model_copy(
        update={
            "metric": metric,
            "higher_is_better": metric != "loss",
            "objectives": objectives,
            "trials": trials,
            "finalists": (),
            "workload": WORKLOAD,
        }
    )


SCORES = [("full", 0.5), ("lora", 0.6), ("full", 0.7), ("lora", 0.55)]


@pytest.mark.parametrize("objectives", [("quality",), ("time", "quality")])
@pytest.mark.parametrize(("metric", "full", "lora"), [("accuracy", 70.0, 60.0), ("loss", 0.5, 0.55)])
def test_methods_stand_beside_full_fine_tunings_best(metric, full, lora, objectives):
    """The best is the lowest loss, and of several objectives the one that is quality."""
    request, _ = toy_request(metric=metric, higher_is_better=metric != "loss")
    found = findings_of(request, searched(metric, SCORES, objectives))
    assert found is not None
    by_method = {one.method: one for one in found.findings}
    assert by_method["full"].value == pytest.approx(full)
    assert by_method["lora"].value == pytest.approx(lora)
    assert {one.full_value for one in found.findings} == {by_method["full"].value}


def test_without_full_fine_tuning_nothing_stands_beside():
    request, _ = toy_request()
    found = findings_of(request, searched("accuracy", [("lora", 0.5)]))
    assert found is not None
    assert [one.full_value for one in found.findings] == [None]


@pytest.mark.parametrize(
    ("state", "said"), [("WAITING", "waiting"), ("RUNNING", "running"), ("COMPLETE", "complete"), ("FAIL", "failed")]
)
def test_a_trial_is_told_as_optuna_has_it(state, said):
    made = optuna.trial.create_trial(
        state=optuna.trial.TrialState[state], value=0.5 if state == "COMPLETE" else None, params={}, distributions={}
    )
    assert _state(made, None) == said
