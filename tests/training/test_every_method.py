"""Every method that can be trained is trained for two steps, and what is saved is that method, not another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from advisor import store
from advisor.assembly import optimizers
from advisor.assembly.adapters.data_driven_init import START, read_start
from advisor.catalog.methods import check_recipe, find_method, method_for_adapter_config, methods, options_of
from advisor.errors import AdvisorError
from advisor.training.export import ABOUT
from advisor.training.prepare import prepare
from advisor.training.trainers.loop import trainable_state
from advisor.training.training_spec import TrainingSpec
from tests.tiny_models import SPECIAL, WORDS, answered, chats, labelled
from tests.training.test_trainers import make_job, one_thread, run

__all__ = ["one_thread"]

BY_DATA = ["corda", "eva", "lora-ga", "fish-mask"]
FAST = [*BY_DATA, "pissa", "lora-fa", "galore"]
ALIKE = {"lora-plus": "lora", "lora-fa": "lora", "qlora": "lora"}
"""Methods whose adapter is another's: they are what they are by their optimizer or their base."""
CONVERTED = ("corda", "lora-ga", "pissa", "olora")
"""Written as plain LoRA of twice the rank, which belongs on the base as published."""
ASSISTANT = [*SPECIAL, *WORDS, "good", "bad", "user", "assistant"].index("assistant")
ON_GPU = ("loftq", "qlora")


def job_for(tmp_path, name, bert, llama, t5) -> TrainingSpec:
    method = find_method(name)
    options = {"rank": 4} if "rank" in method.options else {}
    options |= {"alora": {"invocation_tokens": [ASSISTANT]}, "trainable-tokens": {"tokens": [5, 6, 7]}}.get(name, {})
    fields = {"method": name, "options": options, "trainer": "loop", "learning_rate": 1e-2, "base": method.default_base}
    if "encoder" not in method.architectures and "decoder" not in method.architectures:
        job = make_job(tmp_path, t5, answered(60), "prompt-completion", "seq2seq", "loss", **fields)
    elif name == "alora":
        job = make_job(tmp_path, llama, chats(60), "messages", "causal-lm", "loss", **fields)
    elif "sequence-classification" not in method.tasks:
        job = make_job(tmp_path, llama, answered(60), "prompt-completion", "causal-lm", "loss", **fields)
    else:
        rows = labelled(60)
        job = make_job(tmp_path, bert, rows, "text-label", "sequence-classification", "accuracy", higher=True, **fields)
    short = job.workload.model_copy(update={"epochs": 2 / 6})
    return job.model_copy(update={"workload": short, "evaluations": 1, "checkpoint_seconds": 99, "device": "cpu"})


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(m.name, marks=[] if m.name in FAST else [pytest.mark.exhaustive]) for m in methods() if not m.cannot],
)
def test_a_method_trained_is_the_method_saved(tmp_path, wide_bert, tiny_llama, tiny_t5, name, monkeypatch):
    method = find_method(name)
    job = job_for(tmp_path, name, wide_bert, tiny_llama, tiny_t5)
    try:
        check_recipe(job.spec, job.recipe, job.workload)
    except AdvisorError as error:
        pytest.skip(f"not on this tiny model: {error.message}")
    asked = []
    made = optimizers.make_optimizer
    monkeypatch.setattr(optimizers, "make_optimizer", lambda *given: (asked.append(given[2]), made(*given))[1])
    trained = run(job)
    if trained.status == "failed" and name in ON_GPU:
        pytest.skip(trained.reason)
    assert trained.status == "complete", trained.reason
    assert trained.steps == 2
    assert asked == [method.optimizer]

    weights = load_file(f"{job.folder}/weights.safetensors")
    begun = trainable_state(prepare(job).model)
    assert weights.keys() == begun.keys()
    assert any(not torch.equal(weights[n], begun[n]) for n in weights), "nothing was learned"
    assert sum(t.numel() for t in weights.values()) == trained.trainable_parameters

    finish = {"mode": "finish", "weights": f"{job.folder}/weights.safetensors", "export": str(tmp_path / "out")}
    done = run(job.model_copy(update=finish))
    assert done.status == "complete", done.reason
    assert done.reloaded
    out = tmp_path / "out"
    if (out / ABOUT).is_file():
        assert store.read(TrainingSpec, out / ABOUT).recipe.method == name
    if method.peft_type is not None:
        config = json.loads((out / "adapter_config.json").read_text())
        wanted = "lora" if name in CONVERTED else ALIKE.get(name, name)
        assert method_for_adapter_config(config).name == wanted
        if name in CONVERTED:
            assert config["r"] == 2 * options_of(method, job.recipe.options)["rank"]
    if name in BY_DATA:
        _began_by_data(job, name)
    if name == "lora-fa":
        assert all(torch.equal(weights[n], begun[n]) for n in weights if "lora_A" in n)


def _began_by_data(job, name):
    """Its start differs from the one that reads no data."""
    tensors, about = read_start(Path(job.folder) / START)
    if name == "fish-mask":
        size = 64 * 64
        even = torch.arange(tensors[next(iter(tensors))].numel()) * size // tensors[next(iter(tensors))].numel()
        assert any(
            not torch.equal(chosen.sort().values, even) for chosen in tensors.values() if len(chosen) == len(even)
        )
        return
    a = {n: t for n, t in tensors.items() if ".lora_A." in n}
    b = {n: t for n, t in tensors.items() if ".lora_B." in n}
    if name == "eva":
        for rows in a.values():
            assert torch.allclose(rows @ rows.T, torch.eye(len(rows)), atol=1e-3), (
                "principal directions are orthonormal"
            )
        assert about["init_lora_weights"] == "eva"
        return
    assert all(t.abs().max() > 0 for t in b.values()), "B at zero is plain LoRA's start"


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_DATA)
def test_a_start_from_data_survives_an_interruption(tmp_path, wide_bert, tiny_llama, tiny_t5, name, monkeypatch):
    from advisor.training.monitor import TrainingMonitor

    job = job_for(tmp_path, name, wide_bert, tiny_llama, tiny_t5)
    job = job.model_copy(update={"workload": job.workload.model_copy(update={"epochs": 1.0})})
    whole = run(job)
    assert whole.status == "complete", whole.reason
    begun, _ = read_start(Path(job.folder) / START)
    (tmp_path / "broken").mkdir()
    broken = job.model_copy(update={"folder": str(tmp_path / "broken"), "checkpoint_seconds": 0})
    after = TrainingMonitor.after_step

    def breaks(self, step, loss):
        if step == 3:
            self._interrupted.set()
        return after(self, step, loss)

    monkeypatch.setattr(TrainingMonitor, "after_step", breaks)
    assert run(broken).status == "interrupted"
    monkeypatch.setattr(TrainingMonitor, "after_step", after)
    again = run(broken)
    assert (again.status, again.resumed_from) == ("complete", 3)
    kept, _ = read_start(Path(broken.folder) / START)
    assert all(torch.equal(kept[n], begun[n]) for n in begun), "the same rows and seed give the same start"
    assert again.metrics["loss"] == pytest.approx(whole.metrics["loss"], rel=1e-4)


def test_a_method_that_learns_nothing_on_the_rows_fails_and_says_why(tmp_path, wide_bert, tiny_llama, tiny_t5):
    job = job_for(tmp_path, "alora", wide_bert, tiny_llama, tiny_t5)
    absent = job.recipe.model_copy(update={"options": {"rank": 4, "invocation_tokens": [79]}})
    done = run(job.model_copy(update={"recipe": absent}))
    assert done.status == "failed"
    assert "alora changed none of its parameters in 2 steps" in done.reason
    assert "the invocation tokens must stand in every training sample" in done.reason
