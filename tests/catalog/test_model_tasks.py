"""One table says which task suits which architecture, whichever verb asks."""

from __future__ import annotations

import pytest

import advisor
from advisor.assembly.base_model import auto_class
from advisor.catalog.models import resolve_model
from advisor.catalog.models.tasks import not_used, peft_task_type, target_length, task_for
from advisor.domain.model import TASKS_ON
from advisor.domain.request.vocabulary import TASKS
from advisor.errors import BadRequest

MODELS = {
    "decoder": "Qwen/Qwen2.5-0.5B",
    "encoder": "google-bert/bert-base-uncased",
    "encoder-decoder": "google-t5/t5-small",
}


@pytest.mark.parametrize("architecture", MODELS)
@pytest.mark.parametrize("task", TASKS)
def test_every_verb_takes_or_refuses_a_task_alike(architecture, task):
    spec = resolve_model(MODELS[architecture])
    legal = task in TASKS_ON[architecture]
    if legal:
        assert task_for(spec, task) == task
        assert auto_class(spec, task)
        assert peft_task_type(spec, task)
        return
    for refused in (
        lambda: task_for(spec, task),
        lambda: auto_class(spec, task),
        lambda: advisor.estimate(spec.name, "A100", method="lora", task=task),
        lambda: advisor.recommend(spec.name, "A100", task=task, samples=100, method="lora"),
    ):
        with pytest.raises(BadRequest, match=f"cannot be trained for {task}") as error:
            refused()
        assert error.value.hints


def test_nothing_asked_gives_the_usual_task():
    for name in MODELS.values():
        spec = resolve_model(name)
        assert task_for(spec, None) in TASKS_ON[spec.architecture]


T5, LLAMA, BERT = "google-t5/t5-small", "meta-llama/Llama-3.2-1B", "google-bert/bert-base-uncased"


@pytest.mark.parametrize(
    ("model", "task", "given", "found", "says"),
    [
        (T5, "seq2seq", None, 25, "25 tokens, a quarter"),
        (T5, "seq2seq", 7, 7, ""),
        (LLAMA, "seq2seq", 7, None, ""),
        (LLAMA, "causal-lm", None, None, ""),
        (BERT, "sequence-classification", 7, None, ""),
    ],
)
def test_a_target_has_a_length_of_its_own_beside_an_encoder_only(model, task, given, found, says):
    length, notes = target_length(resolve_model(model), task, 100, given)
    assert length == found
    assert says in " ".join(notes)
    assert bool(notes) == bool(says)


@pytest.mark.parametrize(
    ("model", "task", "unused"),
    [
        (T5, "seq2seq", ["--num-labels 5"]),
        (LLAMA, "seq2seq", ["--target-len 7", "--num-labels 5"]),
        (LLAMA, "causal-lm", ["--target-len 7", "--num-labels 5"]),
        (LLAMA, "sequence-classification", ["--target-len 7"]),
        (BERT, "sequence-classification", ["--target-len 7"]),
    ],
)
def test_a_size_that_means_nothing_for_a_task_is_named(model, task, unused):
    said = not_used(resolve_model(model), task, target_len=7, num_labels=5)
    assert [text.partition(" is not used")[0] for text in said] == unused
    assert not_used(resolve_model(model), task, target_len=None, num_labels=None) == ()
