"""Starts that read training batches: EVA, CorDA, LoRA-GA. `prepare()` before attaching, `finish()` after it.

Without them these methods start as plain LoRA does, which costs the same memory and time per step.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from advisor.catalog.methods.method import Method

Batch = Mapping[str, torch.Tensor]
_log = logging.getLogger("advisor")


def prepared(model: nn.Module) -> bool:
    """Whether `prepare` has left its results on the layers."""
    return any(hasattr(m, "eigens") or hasattr(m, "_peft_loraga_grad") for m in model.modules())


def without_data(config: Any, method: Method, *, on_meta: bool) -> Any:
    """The config with a start that needs no batches; said aloud where values matter."""
    if config.init_lora_weights == "eva":
        return config
    if not on_meta:
        _log.warning("%s: no training batches given, starts as plain LoRA does", method.name)
    config.init_lora_weights = True
    return config


def prepare(model: nn.Module, config: Any, batches: Sequence[Batch]) -> None:
    """Collect what the start needs from a few training batches, on the plain model.

    CorDA: covariances of every target's input and the decomposition of its weight. LoRA-GA: mean gradients of
    every target. Other configs: nothing. `config` is the LoraConfig of `attach.peft_config(..., model)`.
    """
    start = str(config.init_lora_weights)
    if start == "corda":
        from peft.tuners.lora.corda import preprocess_corda

        preprocess_corda(model, config, run_model=lambda: _forward(model, batches))
    elif start == "lora_ga":
        from peft.tuners.lora.loraga import preprocess_loraga

        preprocess_loraga(model, config, train_step=lambda: _backward(model, batches))


def finish(attached: nn.Module, batches: Sequence[Batch]) -> None:
    """EVA: set A to the principal directions of each target's input, and share out the ranks."""
    from peft import initialize_lora_eva_weights

    config: Any = getattr(attached, "peft_config", {}).get("default")
    if config is not None and config.init_lora_weights == "eva":
        initialize_lora_eva_weights(attached, dataloader=list(batches), show_progress_bar=False)


def _forward(model: nn.Module, batches: Sequence[Batch]) -> None:
    with torch.no_grad():
        for batch in batches:
            samples = len(next(iter(batch.values())))
            for i in range(samples):
                # peft's covariances are of one sample at a time
                model(**{name: tensor[i : i + 1] for name, tensor in batch.items()})


def _backward(model: nn.Module, batches: Sequence[Batch]) -> None:
    for batch in batches:
        model(**batch).loss.backward()
