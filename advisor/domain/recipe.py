"""How to learn it: method with its hyperparameters, batch, precision, optimizer, trainer."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from advisor.domain.request.vocabulary import Attention, Base, Batching, DType, Trainer
from advisor.domain.stored import Value


class Recipe(Value):
    """One way to fine-tune. The default values are advisor's; a user's own settings replace them.

    `options` are the method's hyperparameters under advisor's names (rank, alpha, dropout,
    target_modules ...); a method says in the catalogue which it takes. `adapter_config` is a user's own
    peft `adapter_config.json` and then stands instead of `options` (method is read from its peft_type).

    `autocast=True` is mixed precision (weights stay in float32 unless quantised, matmuls in `dtype`);
    False holds and computes the base in `dtype`, as peft's own benchmark and most LLM recipes do.
    """

    method: str
    options: dict[str, Any] = Field(default_factory=dict)
    adapter_config: dict[str, Any] | None = None
    micro_batch_size: int = Field(1, ge=1, le=10**6)
    gradient_accumulation: int = Field(1, ge=1, le=10**6)
    dtype: DType = "bfloat16"
    autocast: bool = False
    base: Base = "dtype"
    optimizer: str = "adamw_torch"
    gradient_checkpointing: bool = False
    attention: Attention = "sdpa"
    trainer: Trainer = "hf"
    batching: Batching = "padded"
    expandable_segments: bool = Field(
        False, description="PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True: the allocator's segments grow"
    )
    learning_rate: float | None = Field(None, gt=0)
    head_learning_rate: float | None = Field(
        None, gt=0, description="of a classification head that the checkpoint lacks; None: the learning rate's own"
    )
    schedule: str = "cosine"
    warmup_ratio: float = Field(0.03, ge=0, le=1)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, ge=0)
