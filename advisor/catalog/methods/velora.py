"""VeLoRA: LoRA that keeps one projected number for each group of an activation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from advisor.catalog.methods.builders import (
    LORA_SERVED,
    NOT_STUDIED,
    REPOSITORIES,
    UNQUANTISED,
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
    plain = {name: value for name, value in options.items() if name != "groups"}
    return {**lora_keywords()(spec, plain), "velora_config": {"num_groups": options["groups"]}}


METHOD = Method(
    name="velora",
    title="VeLoRA",
    says="LoRA whose saved inputs are squeezed to one number a group: less activation memory",
    family="reparameterised",
    subfamily="low-rank, compressed activations",
    paper=paper("2405.17991"),
    year=2024,
    options=lora_options(
        groups=number(
            64, library("lora/config.py, VeloraConfig.num_groups"), 1, 1024, "groups an input is cut into", True
        )
    ),
    learning_rate=rate(2e-4, REPOSITORIES, 2e-5, 2e-3, "as LoRA's: no setting of its own known"),
    peft_type="LORA",
    peft_options=_options,
    adapter_marks={"velora_config": True},
    bases=UNQUANTISED,
    mergeable=True,
    serving=LORA_SERVED,
    needs_peft="0.21.0",
    evidence_names=("velora",),
    failure_modes=("gradients are approximate", "groups must divide the input width"),
    forgetting=NOT_STUDIED,
)
