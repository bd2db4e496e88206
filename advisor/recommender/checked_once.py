"""What no method could train with, refused once: a precision the card has not, a base a checkpoint has not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from advisor.catalog.gpus.capabilities import half_precision
from advisor.catalog.library_support import check_support
from advisor.catalog.methods import find_method
from advisor.catalog.models.checkpoint import stored_base
from advisor.domain.hardware import Gpu
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.request.vocabulary import Attention, Base, DType, MixedPrecision, Trainer
from advisor.errors import BadRequest


def check_precision(
    gpu: Gpu, trainer: Trainer, attention: Attention, dtype: DType | None, mixed: MixedPrecision | None
) -> None:
    """Refuse once what no method could train with: a card without an allocator, a precision the card has not.

    LoRA stands for all: what it trains is float32 beside whatever the base is.
    """
    lora = find_method("lora")
    fields: dict[str, Any] = {"method": lora.name, "trainer": trainer, "attention": attention}
    fields |= {"dtype": dtype or half_precision(gpu), "mixed_precision": mixed or "no"}
    check_support(gpu, Recipe.model_validate(fields), lora, "causal-lm")


def check_base(asked: Sequence[Base] | None, spec: ModelSpec) -> None:
    """Refuse a base that a checkpoint stored in another cannot be loaded in."""
    stored = stored_base(spec)
    if stored is not None and asked is not None and stored not in asked:
        raise BadRequest(
            f"{spec.name} is stored in {stored} and cannot be loaded as a base in {' or '.join(asked)}",
            hints=[f"to go on: --base {stored}, or leave --base out"],
            field="base",
            stored=stored,
        )
