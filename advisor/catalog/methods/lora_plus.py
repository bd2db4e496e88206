"""LoRA+: LoRA whose B learns at a higher rate than A."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from advisor.catalog.methods.builders import (
    LORA_SERVED,
    NOT_STUDIED,
    QUANTISED,
    library,
    lora_keywords,
    lora_options,
    number,
    paper,
    rate,
)
from advisor.catalog.methods.method import Method

if TYPE_CHECKING:
    from advisor.domain.model import ModelSpec


def _options(spec: ModelSpec, options: Mapping[str, Any]) -> dict[str, Any]:
    return lora_keywords()(spec, {name: value for name, value in options.items() if name != "rate_ratio"})


METHOD = Method(
    name="lora-plus",
    title="LoRA+",
    says="LoRA with a higher learning rate for B than for A",
    family="reparameterised",
    subfamily="low-rank, two learning rates",
    paper=paper("2402.12354"),
    year=2024,
    options=lora_options(
        rate_ratio=number(
            16, library("developer_guides/lora.md, loraplus_lr_ratio"), 1, 64, "rate of B over rate of A", True
        )
    ),
    learning_rate=rate(5e-5, library("developer_guides/lora.md, LoRA+ example"), 1e-5, 5e-4, "rate of A"),
    peft_type="LORA",
    peft_options=_options,
    optimizer="loraplus",
    bases=QUANTISED,
    mergeable=True,
    serving=LORA_SERVED,
    evidence_names=("lora+", "lora+loraplus", "loraplus"),
    failure_modes=(
        "needs its own optimizer groups: a trainer that builds plain AdamW trains plain LoRA at a low rate",
    ),
    forgetting=NOT_STUDIED,
)
