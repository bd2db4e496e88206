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
"""Of the tasks for which peft has a wrapper."""


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


def target_length(
    spec: ModelSpec, task: Task, seq_len: int, target_len: int | None
) -> tuple[int | None, tuple[str, ...]]:
    """Tokens of the longest target where targets stand apart from their inputs, and a note on what was assumed.

    Args:
        target_len: as asked for, or as the rows have it; None: nobody says, and a quarter of the input is assumed.

    Returns:
        None wherever the model has no decoder beside its encoder: a decoder learns both as one sequence.
    """
    if spec.architecture != "encoder-decoder" or task != "seq2seq":
        return None, ()
    if target_len is not None:
        return target_len, ()
    assumed = max(1, seq_len // 4)
    return assumed, (f"no target length was given: {assumed} tokens, a quarter of the input, are assumed",)


def not_used(spec: ModelSpec, task: Task, *, target_len: int | None, num_labels: int | None) -> tuple[str, ...]:
    """Of the sizes that a user gave, those that mean nothing for this task, each in a sentence."""
    said: list[str] = []
    if target_len is not None and (spec.architecture != "encoder-decoder" or task != "seq2seq"):
        what = "a decoder learns input and target as one sequence: count both in --seq-len"
        if spec.architecture != "decoder" or task != "seq2seq":
            what = f"{task} has no targets of a length of their own"
        said.append(f"--target-len {target_len} is not used: {what}")
    if num_labels is not None and task != "sequence-classification":
        said.append(f"--num-labels {num_labels} is not used: {task} has no classes")
    return tuple(said)


def peft_task_type(spec: ModelSpec, task: Task) -> str | None:
    """peft's word for a task on a model; None where peft's own wrapper for it does not suit the model."""
    if spec.task_class == "SpeechSeq2Seq":
        return None  # peft's wrapper for seq2seq passes token ids, which a speech model does not take
    if spec.task_class == "ImageClassification":
        return None  # peft's wrapper for classification passes a text's mask, and its guide for pictures has none
    if task == "denoising":
        return None  # no wrapper of peft's for a task passes latents on, and its own comparison takes none
    if task == "seq2seq" and spec.architecture == "decoder":
        return "CAUSAL_LM"  # a decoder learns the pairs as one sequence
    return PEFT_TASK_TYPES[task]
