"""What a key that no request has may mean: a trainer's name for one of ours, an objective, or a slip of the hand."""

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
    "loss": "objective",
    "loss_type": "objective",
    "rl": "objective",
    "stage": "objective",
}
"""What transformers, peft, TRL, axolotl and LLaMA-Factory call a key (fields of their argument classes) -> ours."""


def meant_by(key: str, value: object, known: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names among `known` that `key` may mean, and the sentences to say so."""
    if value in get_args(Objective) and "objective" in known:
        return ["objective"], [f'to ask of a training\'s objective: "objective": "{value}"']
    ours = TRAINERS_KEYS.get(key)
    if ours is not None and ours in known:
        return [ours], [f"here it is called {ours!r}"]
    near = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
    return near, [f"near names: {', '.join(near)}"] if near else [f"keys: {', '.join(known)}"]
