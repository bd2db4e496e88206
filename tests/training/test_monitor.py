"""The monitor: scores on schedule, keeps the best, stops for good reasons; checkpoints count only once committed."""

from __future__ import annotations

import itertools
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.training.checkpoints import COMMITTED, commit, newest
from advisor.training.monitor import (
    OUT_OF_TIME,
    PROGRESS,
    STEPS_KEPT,
    STOP,
    WARM_UP_STEPS,
    Diverged,
    TrainingMonitor,
)
from advisor.tuner.storage.trials import rungs_of
from tests.tuner.studies import toy_request


def monitor(folder, scores, **more):
    values = iter(scores)
    saved = []
    made = TrainingMonitor(
        folder=folder,
        steps=more.pop("steps", 8),
        evaluations=more.pop("evaluations", 4),
        metric="accuracy",
        higher_is_better=True,
        score=lambda: {"accuracy": next(values), "loss": 1.0},
        save_weights=lambda path: saved.append(made.done),
        synchronise=lambda: None,
        **more,
    )
    made.begin()
    return made, saved


@given(steps=st.integers(1, 500), evaluations=st.integers(1, 100))
def test_the_last_scoring_is_at_the_end_and_none_is_lost(tmp_path_factory, steps, evaluations):
    made, _ = monitor(tmp_path_factory.getbasetemp(), [], steps=steps, evaluations=evaluations)
    rungs = made.rungs()
    assert rungs[steps] == 100
    assert len(rungs) == min(steps, evaluations)
    assert all(1 <= step <= steps for step in rungs)


def test_the_seconds_of_the_first_steps_are_kept_and_a_long_run_keeps_no_more(tmp_path):
    steps = WARM_UP_STEPS + STEPS_KEPT + 5
    made, _ = monitor(tmp_path, [0.5], steps=steps, evaluations=1)
    for step in range(1, steps):
        made.after_step(step, 0.1)
    assert len(made.step_seconds) == WARM_UP_STEPS + STEPS_KEPT


def test_weights_are_kept_when_the_score_is_better_only(tmp_path):
    made, saved = monitor(tmp_path, [0.5, 0.7, 0.6, 0.8])
    for step in range(1, 9):
        say = made.after_step(step, 0.1)
    assert saved == [2, 4, 8]
    assert made.best == 0.8
    assert say.stop
    lines = [json.loads(line) for line in (tmp_path / PROGRESS).read_text().splitlines()]
    assert [(x["percent"], x["score"]) for x in lines if "percent" in x] == made.curve


def test_a_training_without_gain_ends_early(tmp_path):
    made, _ = monitor(tmp_path, [0.9, 0.5, 0.5, 0.5], early_stopping=2)
    stops = [made.after_step(step, 0.1).stop for step in range(1, 7)]
    assert stops == [False, False, False, False, False, True]
    assert made.stopped == "early"


@pytest.mark.parametrize("evaluations", [1, 3, 4, 8])
def test_a_study_prunes_at_the_shares_at_which_its_trainings_are_scored(tmp_path, evaluations):
    request, _ = toy_request(evaluations=evaluations)
    made, _ = monitor(tmp_path, [], steps=1000, evaluations=evaluations)
    assert rungs_of(request) == tuple(made.rungs().values())


@pytest.mark.parametrize(("step", "percent"), [(1, 12), (4, 50), (7, 87)])
def test_a_training_whose_hours_end_unscored_is_scored_at_the_share_that_it_ran(tmp_path, step, percent):
    made, _ = monitor(tmp_path, [0.5], evaluations=1, deadline=time.time() - 1)
    assert made.after_step(step, 0.1).stop
    assert made.curve == [(percent, 0.5)]
    assert made.stopped == OUT_OF_TIME


def test_the_workers_word_stops_it(tmp_path):
    made, _ = monitor(tmp_path, itertools.repeat(0.5))
    assert not made.after_step(1, 0.1).stop
    (tmp_path / STOP).write_text("pruned")
    assert made.after_step(2, 0.1).stop
    assert made.stopped == "pruned"


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_told_at_its_step(tmp_path, loss):
    made, _ = monitor(tmp_path, [])
    with pytest.raises(Diverged, match="at step 1 of 8"):
        made.after_step(1, loss)


def test_a_restored_coach_goes_on_where_the_other_was(tmp_path):
    one, _ = monitor(tmp_path, [0.5, 0.7, 0.6, 0.8])
    for step in range(1, 5):
        one.after_step(step, 0.1)
    two, saved = monitor(tmp_path, [0.6, 0.8])
    two.restore(json.loads(json.dumps(one.state())))
    for step in range(5, 9):
        two.after_step(step, 0.1)
    assert two.curve == [(25, 0.5), (50, 0.7), (75, 0.6), (100, 0.8)]
    assert saved == [8]


def checkpoint(folder, number, text="weights"):
    place = folder / f"checkpoint-{number}"
    place.mkdir(parents=True)
    (place / "w.safetensors").write_text(text)
    return place


def test_a_checkpoint_before_its_commit_is_not_used(tmp_path):
    commit(checkpoint(tmp_path, 2), {"done": 2})
    checkpoint(tmp_path, 4)
    folder, state = newest(tmp_path)
    assert folder.name == "checkpoint-2"
    assert state == {"done": 2}


def test_a_checkpoint_whose_files_were_cut_by_a_power_failure_is_not_used(tmp_path):
    commit(checkpoint(tmp_path, 2), {"done": 2})
    commit_later = checkpoint(tmp_path / "other", 4)
    commit(commit_later, {"done": 4})
    commit_later.rename(tmp_path / "checkpoint-4")
    (tmp_path / "checkpoint-4" / "w.safetensors").write_text("wei")
    assert newest(tmp_path)[0].name == "checkpoint-2"


@pytest.mark.parametrize("mark", ["", "{", "[]", "{}"])
def test_a_mark_that_was_not_written_whole_is_no_mark(tmp_path, mark):
    (checkpoint(tmp_path, 2) / COMMITTED).write_text(mark)
    assert newest(tmp_path) is None


def test_the_old_checkpoint_goes_only_after_the_new_one_is_committed(tmp_path):
    commit(checkpoint(tmp_path, 2), {"done": 2})
    new = checkpoint(tmp_path, 4)
    assert (tmp_path / "checkpoint-2").is_dir()
    commit(new, {"done": 4})
    assert not (tmp_path / "checkpoint-2").exists()
    assert newest(tmp_path)[1] == {"done": 4}
