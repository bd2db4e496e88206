"""The lines that a model card shows give the trained model: every task, as an adapter, merged, and as a whole model."""

from __future__ import annotations

import pytest
import torch

from advisor.dataset.encoding import collate
from advisor.training.prepare import prepare
from advisor.training.trainers.loop import load_trainable
from tests.selection import one_in
from tests.tiny_models import answered, labelled
from tests.training.test_trainers import make_job, one_thread, run

__all__ = ["one_thread"]


def three_labels(count):
    rows = labelled(count)
    for row in rows[::3]:
        row["text"], row["label"] = f"{row['text']} yes", 'none "of" both'
    return rows


def task_job(tmp_path, models, task, method, **recipe):
    bert, llama, t5 = models
    fields = {"trainer": "loop", "method": method, "options": {"rank": 4} if method in ("lora", "pissa") else {}}
    if task == "sequence-classification":
        job = make_job(
            tmp_path, bert, three_labels(60), "text-label", task, "accuracy", higher=True, **{**fields, **recipe}
        )
    else:
        spec = t5 if task == "seq2seq" else llama
        name = "seq2seq" if task.startswith("seq2seq") else "causal-lm"
        job = make_job(tmp_path, spec, answered(60), "prompt-completion", name, "loss", **{**fields, **recipe})
    short = job.workload.model_copy(update={"epochs": 0.5})
    return job.model_copy(update={"workload": short, "evaluations": 1, "checkpoint_seconds": 99, "device": "cpu"})


TASKS = ["sequence-classification", "causal-lm", "seq2seq", "seq2seq on a decoder"]


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("method", one_in(2, ["lora", "pissa", "full", "bitfit"]))
def test_the_lines_shown_give_the_trained_model(tmp_path, wide_bert, tiny_llama, tiny_t5, task, method):
    job = task_job(tmp_path, (wide_bert, tiny_llama, tiny_t5), task, method)
    trained = run(job)
    assert trained.status == "complete", trained.reason
    finish = job.model_copy(
        update={
            "mode": "finish",
            "weights": f"{job.folder}/weights.safetensors",
            "export": str(tmp_path / "best"),
            "merge": True,
        }
    )
    done = run(finish)
    assert done.status == "complete", done.reason
    prepared = prepare(finish)
    load_trainable(prepared.model, finish.weights)
    few = prepared.examples["test"][:3]
    batch = collate(few, prepared.tokenizer.pad_token_id)
    wanted = prepared.model.eval()(**batch).logits
    apart = [i for i, line in enumerate(done.usage) if line.startswith("tokenizer = ")]
    # a base without biases has none to merge into: that is told, and the adapter stays
    merges = method != "full" and (method != "bitfit" or task == "sequence-classification")
    assert len(apart) == (2 if merges else 1), done.notes
    assert (done.merged is not None) == merges
    if method == "bitfit" and not merges:
        assert "no merged model is kept: " in done.notes[-1]
        assert not (tmp_path / "best" / "merged").exists()
    if method == "lora":
        assert len(done.usage[: apart[0] + 1]) == 4
        assert done.usage[0].startswith("from peft import AutoPeftModelFor")
    begin = 0
    for end in apart:
        there: dict = {}
        exec("\n".join(done.usage[begin : end + 1]), there)
        begin = end + 1
        assert torch.allclose(there["model"].eval()(**batch).logits, wanted, atol=1e-4)
        assert there["tokenizer"]("w1 w2")["input_ids"] == prepared.tokenizer("w1 w2")["input_ids"]
        if task == "sequence-classification":
            config = there["model"].config
            assert config.id2label == dict(enumerate(job.splits.labels))
            assert config.label2id == {label: i for i, label in enumerate(job.splits.labels)}


def test_a_soft_prompt_cannot_be_merged_and_says_so(tmp_path, wide_bert, tiny_llama, tiny_t5):
    job = task_job(
        tmp_path, (wide_bert, tiny_llama, tiny_t5), "causal-lm", "prompt-tuning", options={"virtual_tokens": 4}
    )
    trained = run(job)
    assert trained.status == "complete", trained.reason
    done = run(
        job.model_copy(
            update={
                "mode": "finish",
                "weights": f"{job.folder}/weights.safetensors",
                "export": str(tmp_path / "best"),
                "merge": True,
            }
        )
    )
    assert (done.status, done.merged) == ("complete", None)
    assert "no merged model is kept: PeftModelForCausalLM: this adapter cannot be merged" in done.notes[-1]
