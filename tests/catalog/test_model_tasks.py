"""One table says which task suits which architecture, whichever verb asks."""

from __future__ import annotations

import pytest

import advisor
from advisor.assembly.base_model import auto_class
from advisor.catalog.models import resolve_model
from advisor.catalog.models.tasks import peft_task_type, task_for
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
