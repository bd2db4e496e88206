"""Every trainer is asked the same: a short CPU run learns, reports, prunes, checkpoints and continues."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
import torch

from advisor.dataset.splits import make_splits, write_splits
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.training import training_worker as trial
from advisor.training.checkpoints import newest
from advisor.training.monitor import STOP, WEIGHTS, TrainingMonitor
from advisor.training.prepare import new_head, prepare
from advisor.training.trainers import TRAINERS
from advisor.training.trainers import __file__ as folder_of_trainers
from advisor.training.training_spec import TrainingSpec
from advisor.tuner.execution.repeat_trial import differences
from tests.tiny_models import answered, chats, labelled


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_job(tmp_path, spec, rows, kind, task, metric, *, tag="t", higher=False, **recipe) -> TrainingSpec:
    parts, splits = make_splits({"train": rows}, kind, seed=0)
    write_splits(parts, tmp_path / "data")
    (tmp_path / tag).mkdir()
    fields = {"method": "lora", "micro_batch_size": 8, "dtype": "float32", "learning_rate": 1e-2, **recipe}
    return TrainingSpec(
        study="s",
        number=0,
        folder=str(tmp_path / tag),
        data=str(tmp_path / "data"),
        splits=splits,
        spec=spec,
        workload=Workload(model=spec.name, task=task, seq_len=32, samples=len(parts["train"]), epochs=3),
        recipe=Recipe(**fields),
        metric=metric,
        higher_is_better=higher,
        seed=0,
        evaluations=4,
        threads=1,
        checkpoint_seconds=0,
    )


def run(job):
    return trial.run(job, time.monotonic())


def causal(tmp_path, spec, trainer, **more):
    return make_job(tmp_path, spec, answered(60), "prompt-completion", "causal-lm", "loss", trainer=trainer, **more)


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (RuntimeError("first line\nsecond line"), "failed", "RuntimeError: first line"),
        (ZeroDivisionError(), "failed", "ZeroDivisionError: ZeroDivisionError"),
        (MemoryError(), "oom", "MemoryError"),
    ],
)
def test_whatever_ends_a_training_is_one_line(tmp_path, tiny_llama, monkeypatch, error, status, reason):
    def ends(*_):
        raise error

    monkeypatch.setattr("advisor.training.train.train", ends)
    result = run(causal(tmp_path, tiny_llama, "hf"))
    assert (result.status, result.reason) == (status, reason)


@pytest.mark.parametrize("trainer", TRAINERS, ids=lambda t: t.name)
def test_a_short_run_learns_and_reports(tmp_path, tiny_llama, trainer):
    result = run(causal(tmp_path, tiny_llama, trainer.name))
    assert result.status == "complete", result.reason
    assert [percent for percent, _ in result.curve] == [25, 50, 75, 100]
    assert result.score == min(score for _, score in result.curve) < 4.2
    assert result.steps == 21
    assert len(result.step_seconds) == 19
    assert result.seconds["total"] >= result.seconds["train"] > 0
    assert (Path(result.weights) if Path(result.weights).is_absolute() else tmp_path / "t" / result.weights).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS, ids=lambda t: t.name)
def test_a_training_repeats_to_the_bit(tmp_path, tiny_llama, trainer):
    job = causal(tmp_path, tiny_llama, trainer.name)
    job = job.model_copy(update={"evaluations": 1, "checkpoint_seconds": 99})
    first = run(job)
    (tmp_path / "again").mkdir()
    again = run(job.model_copy(update={"folder": str(tmp_path / "again")}))
    assert len(first.weights_sha256) == 64
    assert (again.weights_sha256, again.metrics) == (first.weights_sha256, first.metrics)
    assert differences(first, again) == []
    (tmp_path / "other").mkdir()
    other = run(job.model_copy(update={"folder": str(tmp_path / "other"), "seed": 1}))
    assert any(said.startswith("weights: SHA-256") for said in differences(first, other))


@pytest.mark.parametrize("trainer", TRAINERS, ids=lambda t: t.name)
def test_a_word_from_the_worker_prunes_it(tmp_path, tiny_llama, trainer, monkeypatch):
    job = causal(tmp_path, tiny_llama, trainer.name)
    began = TrainingMonitor.begin
    monkeypatch.setattr(
        TrainingMonitor, "begin", lambda self: (began(self), (tmp_path / "t" / STOP).write_text("pruned"))[0]
    )
    result = run(job)
    assert (result.status, result.steps) == ("pruned", 1)


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS, ids=lambda t: t.name)
def test_an_interrupted_run_continues_to_the_result_of_an_unbroken_one(tmp_path, tiny_llama, trainer, monkeypatch):
    whole = run(causal(tmp_path, tiny_llama, trainer.name, tag="whole"))
    shutil.rmtree(tmp_path / "data")
    job = causal(tmp_path, tiny_llama, trainer.name, tag="broken")
    after = TrainingMonitor.after_step

    def breaks(self, step, loss):
        if step == 11:
            self._interrupted.set()
        return after(self, step, loss)

    monkeypatch.setattr(TrainingMonitor, "after_step", breaks)
    broken = run(job)
    assert (broken.status, broken.steps) == ("interrupted", 11)
    found = newest(tmp_path / "broken" / "checkpoints")
    assert found is not None
    assert found[0].name == "checkpoint-11"
    monkeypatch.setattr(TrainingMonitor, "after_step", after)
    again = run(job)
    assert (again.status, again.resumed_from, again.steps) == ("complete", 11, 21)
    assert [percent for percent, _ in again.curve] == [25, 50, 75, 100]
    # same rows, same order, same optimizer state: float32 sums on one thread repeat but for their order
    assert again.score == pytest.approx(whole.score, rel=1e-4)


def classes(tmp_path, spec, tag, **recipe):
    return make_job(
        tmp_path, spec, labelled(40), "text-label", "sequence-classification", "accuracy", tag=tag, **recipe
    )


def moved(model, job) -> dict[str, float]:
    """How far the new head and the adapter went from where the seed put them."""
    from safetensors.torch import load_file

    at = load_file(Path(job.folder) / WEIGHTS)
    start = {n: p.detach() for n, p in model.named_parameters()}
    went = {n: float((tensor - start[n]).abs().max()) for n, tensor in at.items()}
    return {
        "head": max(v for n, v in went.items() if "classifier" in n),
        "adapter": max(v for n, v in went.items() if "lora_" in n),
    }


@pytest.mark.parametrize("trainer", ["loop", "hf"])
def test_a_new_head_learns_at_its_own_rate(tmp_path, tiny_bert, trainer):
    rates = {"learning_rate": 1e-4, "head_learning_rate": 1e-2, "schedule": "constant"}
    job = classes(tmp_path, tiny_bert, "t", trainer=trainer, **rates)
    result = run(job)
    assert result.status == "complete", result.reason
    went = moved(prepare(job).model, job)
    assert went["head"] > 20 * went["adapter"] > 0


def test_a_head_that_the_checkpoint_holds_is_not_new(tmp_path, tiny_bert):
    """What an earlier training gave it would be lost at a new head's rate."""
    fresh = prepare(classes(tmp_path, tiny_bert, "fresh"))
    folder = tmp_path / "trained"
    fresh.model.merge_and_unload().save_pretrained(folder)
    fresh.tokenizer.save_pretrained(folder)
    held = tiny_bert.model_copy(update={"weights": str(folder)})
    shutil.rmtree(tmp_path / "data")
    again = prepare(classes(tmp_path, held, "again"))
    assert (len(new_head(fresh)), len(new_head(again))) == (2, 0), (fresh.new, again.new)


@pytest.mark.parametrize("trainer", TRAINERS, ids=lambda t: t.name)
def test_an_allocation_that_fails_is_a_result_that_says_so(tmp_path, tiny_llama, trainer, monkeypatch):
    def out(*_):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: 8 bytes")

    monkeypatch.setattr(TrainingMonitor, "after_step", out)
    result = run(causal(tmp_path, tiny_llama, trainer.name))
    assert result.status == "oom"
    assert "can't allocate memory" in result.reason


@pytest.mark.slow
def test_all_trainers_teach_the_same_in_the_same_steps(tmp_path, tiny_llama):
    losses = {}
    for one in TRAINERS:
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        losses[one.name] = run(causal(tmp_path, tiny_llama, one.name, tag=one.name)).score
    assert losses["hf"] == pytest.approx(losses["trl"], rel=1e-4)
    # the plain loop shuffles otherwise, so only the level must agree
    assert losses["loop"] == pytest.approx(losses["hf"], rel=0.05)


def test_a_gradient_accumulated_over_micro_batches_is_the_large_batchs(tmp_path, tiny_llama):
    large = run(causal(tmp_path, tiny_llama, "loop", tag="large"))
    shutil.rmtree(tmp_path / "data")
    small = run(causal(tmp_path, tiny_llama, "loop", tag="small", micro_batch_size=2, gradient_accumulation=4))
    # padding differs by micro-batch and so does the order of float32 sums
    assert small.score == pytest.approx(large.score, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["loop", "hf"])
def test_a_classifier_learns_its_toy_task(tmp_path, tiny_bert, trainer):
    job = make_job(
        tmp_path,
        tiny_bert,
        labelled(200),
        "text-label",
        "sequence-classification",
        "accuracy",
        higher=True,
        trainer=trainer,
        learning_rate=5e-3,
    )
    result = run(job)
    assert result.status == "complete", result.reason
    assert result.score >= 0.9
    finish = job.model_copy(
        update={
            "mode": "finish",
            "weights": str(tmp_path / "t" / "weights.safetensors"),
            "export": str(tmp_path / "adapter"),
        }
    )
    done = run(finish)
    assert done.status == "complete", done.reason
    assert done.reloaded is True
    assert done.test["accuracy"] >= 0.8
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    assert not list((tmp_path / "adapter").glob("*.bin"))


@pytest.mark.slow
def test_an_encoder_decoder_learns_and_generates(tmp_path, tiny_t5):
    job = make_job(tmp_path, tiny_t5, answered(60), "prompt-completion", "seq2seq", "rougeL", higher=True, trainer="hf")
    result = run(job)
    assert result.status == "complete", result.reason
    assert set(result.metrics) >= {"loss", "perplexity", "rouge1", "rougeL", "exact_match"}


@pytest.mark.slow
def test_chats_are_trained_with_the_models_template(tmp_path, tiny_llama):
    job = make_job(tmp_path, tiny_llama, chats(60), "messages", "causal-lm", "exact_match", higher=True, trainer="trl")
    result = run(job)
    assert result.status == "complete", result.reason
    assert result.metrics["loss"] < 4.3


def test_a_diverging_run_is_told_with_its_step(tmp_path, tiny_llama):
    result = run(causal(tmp_path, tiny_llama, "loop", learning_rate=1e30, max_grad_norm=0.0, warmup_ratio=0.0))
    assert result.status == "failed"
    assert result.reason.startswith("diverged")


def test_an_unsuited_trainer_is_refused_with_the_right_one(tmp_path, tiny_bert):
    job = make_job(
        tmp_path,
        tiny_bert,
        labelled(40),
        "text-label",
        "sequence-classification",
        "accuracy",
        higher=True,
        trainer="trl",
    )
    result = run(job)
    assert result.status == "failed"
    assert "--trainer hf" in result.reason


def test_every_trainers_file_is_in_the_tuple():
    files = {p.stem for p in Path(folder_of_trainers).parent.glob("*.py")} - {"__init__", "trainer"}
    assert files == {t.name for t in TRAINERS}
