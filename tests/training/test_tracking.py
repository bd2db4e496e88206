"""Trackers hear the same of every trainer: parameters, losses, the scores that trials are compared by."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from advisor.errors import BadRequest, UnknownName
from advisor.training.tracking import check_trackers
from advisor.training.trainers import TRAINERS
from tests.training.test_trainers import causal, one_thread, run

__all__ = ["one_thread"]
needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed: pip install tensorboard"
)


def written(folder):
    """Tag -> [(step, value)] of the one run below a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    [path] = folder.rglob("events.out.*")
    read = EventAccumulator(str(path.parent)).Reload()
    return {tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


@needs_tensorboard
@pytest.mark.parametrize("trainer", TRAINERS, ids=lambda t: t.name)
def test_tensorboard_gets_losses_and_every_scoring_of_every_trainer(tmp_path, tiny_llama, trainer):
    job = causal(tmp_path, tiny_llama, trainer.name)
    result = run(job.model_copy(update={"report_to": ("tensorboard",)}))
    assert result.status == "complete", result.reason
    found = written(tmp_path / "t")
    assert [step for step, _ in found["train/loss"]] == [1, 10, 20]
    scored = [value for _, value in found["eval/loss"]]
    assert scored == pytest.approx([score for _, score in result.curve], rel=1e-6)
    assert found["eval/loss"][-1][0] == result.steps


@needs_tensorboard
def test_tracked_runs_outlive_the_checkpoints(tmp_path, tiny_llama):
    from advisor.training.checkpoints import commit

    run(causal(tmp_path, tiny_llama, "loop").model_copy(update={"report_to": ("tensorboard",)}))
    later = tmp_path / "t" / "checkpoints" / "checkpoint-99"
    later.mkdir(parents=True)
    commit(later, {})
    assert written(tmp_path / "t")


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="mlflow is not installed")
def test_mlflow_gets_parameters_losses_and_scores(tmp_path, tiny_llama, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    result = run(causal(tmp_path, tiny_llama, "loop").model_copy(update={"report_to": ("mlflow",)}))
    assert result.status == "complete", result.reason
    [found] = mlflow.MlflowClient().search_runs(["0"])
    assert found.info.run_name == "s-0"
    assert found.data.metrics["eval_loss"] == pytest.approx(result.curve[-1][1])
    assert float(found.data.params["learning_rate"]) == 1e-2


def test_a_broken_training_closes_its_runs(tmp_path, tiny_llama, monkeypatch):
    from advisor.training import tracking

    told = []

    class Recorder:
        def on_train_begin(self, args, state, control, **_):
            told.append(("begin", args.run_name, args.learning_rate))

        def on_log(self, args, state, control, logs, **_):
            told.append(("log", state.global_step, sorted(logs)))

        def on_train_end(self, args, state, control, **_):
            told.append(("end",))

    monkeypatch.setattr(
        "transformers.integrations.integration_utils.get_reporting_integration_callbacks", lambda names: [Recorder]
    )
    job = causal(tmp_path, tiny_llama, "loop", learning_rate=1e30, max_grad_norm=0.0, warmup_ratio=0.0)
    # transformers itself checks what TrainingArguments are told; the recorder is not one of its own
    monkeypatch.setattr(tracking.Tracker, "__init__", _without_arguments(tracking.Tracker.__init__))
    result = run(job.model_copy(update={"report_to": ("recorder",)}))
    assert "diverged" in result.reason
    assert told[0] == ("begin", "s-0", 1e30)
    assert told[-1] == ("end",)
    assert ("log", 1, ["loss"]) in told


def _without_arguments(init):
    def made(self, job, model, settings, steps):
        import transformers

        real = transformers.TrainingArguments
        transformers.TrainingArguments = lambda **given: real(**{**given, "report_to": "none"})
        try:
            init(self, job, model, settings, steps)
        finally:
            transformers.TrainingArguments = real

    return made


def test_a_tracker_that_is_unknown_or_missing_is_refused_before_any_trial(monkeypatch):
    check_trackers(())
    with pytest.raises(UnknownName, match="unknown tracker: 'tensorbord'") as caught:
        check_trackers(("tensorbord",))
    assert "tensorboard" in caught.value.hints[0]
    monkeypatch.setattr("transformers.integrations.integration_utils.is_tensorboard_available", lambda: False)
    with pytest.raises(BadRequest, match="it is not installed here"):
        check_trackers(("tensorboard",))
    assert "advisor.training.tracking" in sys.modules
