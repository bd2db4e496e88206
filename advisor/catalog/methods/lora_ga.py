"""LoRA-GA: LoRA that starts where its first step follows full fine-tuning's gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from advisor.catalog.methods.builders import (
    LORA_SERVED,
    NOT_STUDIED,
    UNQUANTISED,
    choice,
    library,
    lora_keywords,
    lora_options,
    paper,
    rate,
)
from advisor.catalog.methods.method import Method

if TYPE_CHECKING:
    from advisor.domain.model import ModelSpec


def _options(spec: ModelSpec, options: Mapping[str, Any]) -> dict[str, Any]:
    plain = {name: value for name, value in options.items() if name != "scale"}
    return {
        **lora_keywords()(spec, plain),
        "init_lora_weights": "lora_ga",
        "lora_ga_config": {"scale": options["scale"]},
    }


METHOD = Method(
    name="lora-ga",
    title="LoRA-GA",
    says="LoRA started from an SVD of full fine-tuning's first gradient",
    family="reparameterised",
    subfamily="low-rank, gradient init",
    paper=paper("2407.05000"),
    year=2024,
    options=lora_options(
        alpha_default=16,
        alpha_source=paper("2407.05000", "alpha 16, rank 8"),
        scale=choice(
            "stable",
            library("lora/config.py, LoraGAConfig.scale"),
            ("stable", "weight_svd", "gd_scale", "unit"),
            "scale of the start",
        ),
    ),
    learning_rate=rate(2e-5, paper("2407.05000", "2e-5 to 5e-5 on Llama-2-7B"), 1e-5, 1e-3),
    peft_type="LORA",
    peft_options=_options,
    adapter_marks={"init_lora_weights": "lora_ga"},
    bases=UNQUANTISED,
    mergeable=True,
    serving=LORA_SERVED,
    needs_data=True,
    start_reads=(64, "batches"),  # peft's guide to LoRA-GA: "typically 64-128 batches"
    needs_peft="0.20.0",
    start_up="full gradients of every target over 64 batches, then a low-rank SVD of each",
    checkpoint="A and B; without conversion to LoRA the changed base weights are needed besides",
    evidence_names=("lora_ga", "lora-ga"),
    failure_modes=("start-up needs the memory of a gradient a target weight",),
    forgetting=NOT_STUDIED,
)
