"""The task asked of a model, or its own; and what peft calls it. What suits which model `ModelSpec.tasks` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from advisor.domain.model import ModelSpec
from advisor.domain.request.vocabulary import Task
from advisor.errors import BadRequest

PEFT_TASK_TYPES: Final[Mapping[Task, str]] = {
    "causal-lm": "CAUSAL_LM",
    "sequence-classification": "SEQ_CLS",
    "seq2seq": "SEQ_2_SEQ_LM",
}


def task_for(spec: ModelSpec, asked: Task | str | None) -> Task:
    """The task asked for, or what the model is for.

    Raises:
        BadRequest: its architecture cannot be trained for that; says for what it can.
    """
    possible = spec.tasks
    if asked is None:
        return spec.task
    for task in possible:
        if task == asked:
            return task
    raise BadRequest(
        f"{spec.name} cannot be trained for {asked}",
        cause=f"it is {'a' if spec.architecture == 'decoder' else 'an'} {spec.architecture}",
        hints=[f"to go on: --task {task}" for task in possible],
        task=asked,
        architecture=spec.architecture,
    )


def peft_task_type(spec: ModelSpec, task: Task) -> str | None:
    """peft's word for a task on a model; None where peft's own wrapper for it does not suit the model."""
    if spec.task_class == "SpeechSeq2Seq":
        return None  # peft's wrapper for seq2seq passes token ids, which a speech model does not take
    if task == "seq2seq" and spec.architecture == "decoder":
        return "CAUSAL_LM"  # a decoder learns the pairs as one sequence
    return PEFT_TASK_TYPES[task]
