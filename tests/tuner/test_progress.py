"""What is said while a study trains, and what is said and done where the best came early."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta

import optuna
import pytest

from advisor.interfaces.cli.tune import A_LINE_SECONDS, TuneDisplay
from advisor.training.monitor import WEIGHTS
from advisor.training.training_spec import TrainingResult
from advisor.tuner.budget import make_plan
from advisor.tuner.execution.trial_worker import Worker
from advisor.tuner.results.finalists import Chosen, choose
from advisor.tuner.results.summary import tuned_study
from advisor.tuner.search.early_best import early_best, scorings_to_wait
from advisor.tuner.storage import trials as ledger
from advisor.tuner.storage.connect import storage_url
from tests.tuner.studies import begin, toy_request

LATE = ((25, 0.5), (50, 0.6), (75, 0.7), (100, 0.8))
EARLY = ((25, 0.8), (50, 0.7), (75, 0.8), (100, 0.6))


@pytest.mark.parametrize(
    ("curve", "higher", "at"),
    [
        (EARLY, True, 25),
        (EARLY, False, None),
        (LATE, True, None),
        (LATE, False, 25),
        (EARLY[:1], True, None),
        ((), True, None),
        (EARLY[:2], True, 25),
    ],
)
def test_a_best_is_early_up_to_a_quarter_of_a_training_that_went_on(curve, higher, at):
    assert early_best(curve, higher=higher) == at


def finished(study, curve, score):
    """A trial of ten seconds in the study."""
    result = TrainingResult(status="complete", curve=curve, score=score, seconds={"total": 10.0, "train": 9.0})
    rate = optuna.distributions.FloatDistribution(1e-5, 1e-1, log=True)
    trial = optuna.trial.create_trial(
        params={"learning_rate": 0.02 + 0.01 * score},
        distributions={"learning_rate": rate},
        value=score,
        user_attrs={ledger.OUTCOME: ledger.outcome(result)},
    )
    trial.datetime_start = datetime.now() - timedelta(seconds=10)
    study.add_trial(trial)


@pytest.mark.parametrize(
    ("curves", "asked", "waits"),
    [
        ([], 0, 0),
        ([(LATE, 0.8)], 0, 0),
        ([(EARLY, 0.8)], 0, scorings_to_wait(8)),
        ([(EARLY, 0.8), (LATE, 0.9)], 0, 0),
        ([(EARLY, 0.8)], 5, 5),
    ],
)
def test_trainings_end_earlier_once_the_best_had_its_best_early(tmp_path, curves, asked, waits):
    study = begin(tmp_path, early_stopping=asked)
    for curve, score in curves:
        finished(study, curve, score)
    worker = Worker(tmp_path, storage_url(None, tmp_path))
    assert worker.launch(worker.ask()).job.early_stopping == waits


@pytest.mark.parametrize(("curve", "told"), [(EARLY, True), (LATE, False)])
def test_a_best_that_came_early_is_told_with_what_to_type_next_time(tmp_path, curve, told):
    study = begin(tmp_path)
    finished(study, curve, 0.8)
    request, _ = toy_request()
    trial = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))[0]
    chosen = Chosen(trial, (), tmp_path / WEIGHTS, 0)
    notes = tuned_study(request, tmp_path, "sqlite:///x", study.trials, make_plan(request), chosen=chosen).notes
    epochs = request.workload.epochs
    said = f"came at 25 % of its training, {epochs / 4:.2g} of {epochs:.3g} epochs"
    assert any(said in note and f"--epochs {epochs / 2:.2g}" in note for note in notes) == told


def test_what_is_trained_without_rows_to_score_ends_where_the_best_came(tmp_path):
    study = begin(tmp_path, retrain=True)
    finished(study, EARLY, 0.8)
    request, _ = toy_request(retrain=True)
    jobs = []

    def train(request, some, heard):
        jobs.extend(some)
        return [TrainingResult(status="complete", score=0.8) for _ in some]

    choose(request, tmp_path, study.get_trials(), train=train, said=lambda standing: None)
    assert [job.workload.epochs for job in jobs] == [request.workload.epochs / 4]


def as_it_stands(folder, study, **fields):
    request, _ = toy_request(**fields)
    return tuned_study(request, folder, "sqlite:///x", study.get_trials(), make_plan(request))


def test_what_runs_and_how_far_it_is_are_read_from_its_own_file(tmp_path):
    study = begin(tmp_path)
    finished(study, LATE, 0.8)
    assert as_it_stands(tmp_path, study).running == ()
    trial = study.ask({"learning_rate": optuna.distributions.FloatDistribution(1e-5, 1e-1, log=True)})
    assert as_it_stands(tmp_path, study).running == ("trial 0 (learning_rate 0.01)",)
    place = ledger.trial_folder(tmp_path, study.trials[trial.number])
    place.mkdir(parents=True)
    lines = [{"loaded": 1.0}, {"step": 30, "of": 120}, {"percent": 25, "score": 0.5}, {"step": 60, "of": 120}]
    (place / "progress.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 9')
    found = as_it_stands(tmp_path, study)
    assert found.running == ("trial 0 (learning_rate 0.01) at 50%",)
    # four trials of ten seconds: one has ended, one is half done; no finals
    assert found.seconds_left == pytest.approx(25)
    assert as_it_stands(tmp_path, study, ends_at=time.time() + 90).seconds_left == pytest.approx(90, abs=5)


def test_finals_and_the_export_are_named_too(tmp_path):
    study = begin(tmp_path)
    finished(study, LATE, 0.8)
    for name in ("0001-seed2", "0001-retrained", "0001-finish"):
        (tmp_path / "finals" / name).mkdir(parents=True)
    (tmp_path / "finals/0001-seed2/progress.jsonl").write_text('{"step": 1, "of": 4}\n')
    (tmp_path / "finals/0001-retrained/progress.jsonl").write_text("")
    assert as_it_stands(tmp_path, study).running == (
        "test and export of trial 1",
        "trial 1 retrained",
        "trial 1 with seed 2 of the finals at 25%",
    )


def test_without_a_terminal_a_line_a_minute_says_what_runs_and_what_is_left(tmp_path, monkeypatch, capsys):
    study = begin(tmp_path)
    study.ask({"learning_rate": optuna.distributions.FloatDistribution(1e-5, 1e-1, log=True)})
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    display, view = TuneDisplay(), as_it_stands(tmp_path, study)
    for seconds in (0, 30, 59):
        now[0] = 1000 + seconds
        display(view)
    assert capsys.readouterr().err == ""
    for seconds in (A_LINE_SECONDS, 90, 125):
        now[0] = 1000 + seconds
        display(view.model_copy(update={"seconds_left": 300.0}))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert all("trial 0 (learning_rate 0.01)" in line and "about 5 m left" in line for line in said), said
