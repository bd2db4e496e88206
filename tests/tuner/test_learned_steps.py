"""What finished studies of other data teach a new search: which bear on it, and where its steps go."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from advisor import store
from advisor.domain.findings import Finding, Study
from advisor.domain.tuning import Dimension, TunedStudy
from advisor.tuner.execution.propose import propose
from advisor.tuner.search import earlier_studies as earlier_studies_file
from advisor.tuner.search.earlier_studies import LEAST_TRIALS, earlier_studies
from advisor.tuner.search.learned_steps import encoded, expected_gain, learned_step
from advisor.tuner.search.local_moves import EvaluatedSettings, next_trial
from advisor.tuner.search.space import make_dimensions
from advisor.tuner.storage import trials as ledger
from advisor.tuner.tune_request import REQUEST_FILE, EarlierStudy, EarlierTrial
from tests.tuner.studies import ROOT, begin, toy_request
from tests.tuner.test_space import WORK, start

RATE = (Dimension(name="learning_rate", kind="float", start=1e-3, low=1e-5, high=1e-1, log=True),)


def rates_near(best, *, count=12, name="other"):
    """A study whose score falls with the decades from a rate."""
    rates = np.geomspace(1e-5, 1e-1, count)
    trials = tuple(
        EarlierTrial(levels={"learning_rate": float(r)}, score=0.9 - 0.1 * abs(np.log10(r / best))) for r in rates
    )
    return EarlierStudy(name=name, folder="nowhere", samples=100, trials=trials)


def toward(best):
    tried = [EvaluatedSettings({"learning_rate": 1e-3}, 0.6), EvaluatedSettings({"learning_rate": 2e-3}, 0.6)]
    return learned_step(RATE, tried, [rates_near(best)], "0")["learning_rate"]


def test_a_step_goes_where_earlier_studies_were_better():
    assert toward(1e-2) > 2e-3
    assert toward(1e-4) < 1e-3


def test_own_trials_outweigh_what_earlier_studies_say():
    """Four trials that contradict the study: the step leaves the study's best."""
    tried = [
        EvaluatedSettings({"learning_rate": r}, s) for r, s in ((1e-2, 0.2), (3e-2, 0.1), (3e-3, 0.3), (1e-4, 0.8))
    ]
    assert learned_step(RATE, tried, [rates_near(1e-2)], "0")["learning_rate"] < 1e-3


def test_a_shift_and_a_stretch_of_earlier_scores_change_nothing():
    at = np.array([[0.0], [1.0], [0.3], [2.0], [-1.0]])
    settings, scores = np.linspace(-2, 2, 9)[:, None], np.linspace(0, 1, 9) ** 2
    one = expected_gain(at, np.array([0.5, 0.6]), [(settings, scores)])
    assert np.argmax(one) == np.argmax(expected_gain(at, np.array([0.5, 0.6]), [(settings, scores - 7)]))
    assert (one[:2] == -1).all()
    assert (one[2:] >= 0).all()


def test_nothing_is_proposed_twice_nor_without_a_score():
    assert learned_step(RATE, [EvaluatedSettings({"learning_rate": 1e-3})], [rates_near(1e-2)], "0") is None
    tried = [EvaluatedSettings({"learning_rate": 1e-3}, 0.6)]
    for i in range(3):
        params = learned_step(RATE, tried, [rates_near(1e-2)], str(i))
        assert not any(dict(one.params) == params for one in tried)
        tried.append(EvaluatedSettings(params, 0.5))


def test_equal_scores_and_settings_of_every_kind_are_taken():
    dimensions = make_dimensions([start("lora"), start("dora")], WORK)
    flat = tuple(EarlierTrial(levels={"method": "dora"}, score=0.5) for _ in range(6))
    tried = [EvaluatedSettings(next_trial(dimensions, [], moves=0, near=False, draw="")[1], 0.5)]
    params = learned_step(dimensions, tried, [EarlierStudy(name="f", folder="", samples=9, trials=flat)], "0")
    assert params["method"] in ("lora", "dora")
    assert all(np.isfinite(encoded(dimensions, {d.name: params[d.key] for d in dimensions if d.key in params})))


def test_a_study_asks_for_learned_steps_after_its_moves_alone(tmp_path):
    begin(tmp_path, earlier=(rates_near(1e-2),), neighbours=2)
    study, request = ledger.load("toy", f"sqlite:///{tmp_path / 'study.db'}")
    for _ in range(5):
        propose(study, request)
        trial = study.ask()
        rate = trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True)
        study.tell(trial, 0.9 - 0.1 * abs(np.log10(rate / 1e-2)))
    origins = [t.user_attrs.get(ledger.ORIGIN) for t in study.get_trials()]
    assert origins[0] == "recommendation"
    assert all(origin.startswith("neighbour") for origin in origins[1:3])
    assert origins[3:] == ["learned from earlier studies"] * 2


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A finished study of the user's own in a folder, and what makes the store name it."""
    folder = tmp_path / "old"
    request, _ = toy_request()
    request = request.model_copy(update={"spec": request.spec.model_copy(update={"config": {"hidden_size": 64}})})
    whole = store.read(TunedStudy, ROOT / "tests" / "golden" / "schema" / "tuned-study-1.json")
    done = next(t for t in whole.trials if t.state == "complete" and t.values)
    trials = tuple(done.model_copy(update={"number": i}) for i in range(LEAST_TRIALS))
    store.write(whole.model_copy(update={"trials": trials}), folder / "study.json")
    store.write(request, folder / REQUEST_FILE)
    finding = Finding.model_validate(
        {"table": "t", "model": "m", "architecture": "encoder", "task": "x", "task_type": "classification",
         "method": "lora", "metric": "accuracy", "value": 50.0, "address": f"file:{folder}"}
    )  # fmt: skip
    study = Study(id="own-old", title="old", url=f"file:{folder}", own=True, findings=(finding,))
    monkeypatch.setattr(earlier_studies_file, "load_studies", lambda: (study,))
    return SimpleNamespace(request=request, folder=folder)


def test_a_finished_study_is_learned_from_and_named(finished):
    found, said = earlier_studies(finished.request)
    assert [len(one.trials) for one in found] == [LEAST_TRIALS]
    assert found[0].trials[0].levels == {"learning_rate": pytest.approx(0.01)}
    assert "--no-earlier-studies" in said


@pytest.mark.parametrize("higher", [True, False])
def test_the_better_of_two_earlier_trials_is_the_one_learned_from_as_better(finished, higher):
    path = finished.folder / "study.json"
    whole = store.read(TunedStudy, path)
    scores = [0.1 * (i + 1) for i in range(LEAST_TRIALS)]
    trials = tuple(t.model_copy(update={"values": (s,)}) for t, s in zip(whole.trials, scores, strict=True))
    store.write(whole.model_copy(update={"trials": trials, "higher_is_better": higher}), path)
    (found,), _ = earlier_studies(finished.request)
    learned = [one.score for one in found.trials]
    assert learned == sorted(learned, reverse=not higher)


@pytest.mark.parametrize(
    "other",
    [
        lambda r: {"metric": "f1"},
        lambda r: {"spec": r.spec.model_copy(update={"architecture": "decoder"})},
        lambda r: {"spec": r.spec.model_copy(update={"config": {"hidden_size": 1024}})},
        lambda r: {"spec": r.spec.model_copy(update={"config": {}})},
        lambda r: {"splits": r.splits.model_copy(update={"rows": {**r.splits.rows, "train": 10**5}})},
        lambda r: {"starts": (r.starts[0].model_copy(update={"recipe": start("dora").recipe}),)},
    ],
)
def test_a_study_of_something_else_is_not(finished, other):
    assert earlier_studies(finished.request.model_copy(update=other(finished.request))) == ((), "")


def test_a_damaged_or_moved_study_is_passed_over(finished):
    (finished.folder / "study.json").write_text("{", encoding="utf-8")
    assert earlier_studies(finished.request) == ((), "")
    (finished.folder / "study.json").unlink()
    assert earlier_studies(finished.request) == ((), "")
