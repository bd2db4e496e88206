"""What a key or an option that no request has may mean: a trainer's name for one of ours, or a slip of the hand."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Final, get_args

from advisor.domain.request.vocabulary import Objective

TRAINERS_KEYS: Final = {
    "per_device_train_batch_size": "batch_size",
    "micro_batch_size": "batch_size",
    "gradient_accumulation_steps": "gradient_accumulation",
    "max_length": "seq_len",
    "max_seq_length": "seq_len",
    "max_seq_len": "seq_len",
    "cutoff_len": "seq_len",
    "sequence_len": "seq_len",
    "num_train_epochs": "epochs",
    "lora_r": "rank",
    "lora_rank": "rank",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "optim": "optimizer",
    "lr_scheduler_type": "schedule",
    "attention": "attn_implementation",
    "torch_dtype": "dtype",
    "quantization": "base",
    "quantization_bit": "base",
    "load_in_4bit": "base",
    "load_in_8bit": "base",
    "bf16": "mixed_precision",
    "fp16": "mixed_precision",
    "packing": "batching",
    "count": "gpus",
    "num_gpus": "gpus",
    "num_processes": "gpus",
    "nproc_per_node": "gpus",
    "num_machines": "nodes",
    "nnodes": "nodes",
    "loss": "objective",
    "loss_type": "objective",
    "rl": "objective",
    "stage": "objective",
}
"""What transformers, peft, TRL, axolotl and LLaMA-Factory call a key (fields of their argument classes), and torchrun
and accelerate an option -> ours."""

CHOOSING: Final = {"batch_size": "effective_batch_size", "gpus": "max_gpus"}
"""What is given of a name to a verb that chooses the rest itself."""


def meant_by(key: str, value: object, known: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names among `known` that `key` may mean, and the sentences to say so."""
    if value in get_args(Objective) and "objective" in known:
        return ["objective"], [f'to ask of a training\'s objective: "objective": "{value}"']
    ours = TRAINERS_KEYS.get(key)
    if ours is not None and ours in known:
        return [ours], [f"here it is called {ours!r}"]
    near = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
    return near, [f"near names: {', '.join(near)}"] if near else [f"keys: {', '.join(known)}"]


def option_meant(flag: str, known: Sequence[str], of_a_recipe: Sequence[str]) -> str:
    """What to type instead of an option that a verb has not; "" where nothing is known of it.

    Args:
        flag: as it was typed, with its dashes.
        known: the options of the verb.
        of_a_recipe: those of `advisor estimate`, which is given what other verbs choose.
    """
    key = flag.strip("-").replace("-", "_")
    ours = TRAINERS_KEYS.get(key, key)
    for name in (ours, CHOOSING.get(ours)):
        if name is not None and _flag(name) in known:
            return f"here it is called {_flag(name)}"
    return f"advisor estimate takes it: {_flag(ours)}" if _flag(ours) in of_a_recipe else ""


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
