"""CorDA: LoRA that starts from a decomposition of each weight weighted by its inputs' covariance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from advisor.catalog.methods.builders import (
    LORA_SERVED,
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
    plain = {name: value for name, value in options.items() if name != "mode"}
    return {
        **lora_keywords()(spec, plain),
        "init_lora_weights": "corda",
        "corda_config": {"corda_method": options["mode"]},
    }


METHOD = Method(
    name="corda",
    title="CorDA",
    says="LoRA started from a context-weighted SVD: keeps knowledge (kpm) or learns faster (ipm)",
    family="reparameterised",
    subfamily="low-rank, context-oriented init",
    paper=paper("2406.05223"),
    year=2024,
    options=lora_options(
        alpha_default=16,
        alpha_source=paper("2406.05223", "alpha = r"),
        mode=choice(
            "ipm",
            library("lora/config.py, CordaConfig.corda_method"),
            ("ipm", "kpm"),
            "ipm: learn the task; kpm: keep old knowledge",
        ),
    ),
    learning_rate=rate(2e-5, paper("2406.05223", "2e-5 as published"), 1e-5, 1e-3),
    peft_type="LORA",
    peft_options=_options,
    adapter_marks={"init_lora_weights": "corda"},
    bases=UNQUANTISED,
    mergeable=True,
    serving=LORA_SERVED,
    needs_data=True,
    # peft 0.21, tuners/lora/corda.py: hidden size / tokens of a sample x 128 samples (256 of 2,048 at a width of 4,096)
    start_reads=(128, "times the width in tokens"),
    start_up="forward passes over 128 tokens for each unit of the width (256 rows of 2,048 tokens at 4,096), for input "
    "covariances (one width x width matrix a target), then an SVD of each",
    checkpoint="A and B; without conversion to LoRA the changed base weights are needed besides",
    evidence_names=("corda",),
    failure_modes=(
        "covariances of every target are held at once during start-up: more memory than training needs on wide models",
        "the frozen weight is changed at the start",
    ),
    forgetting="its kpm mode is made against forgetting (arXiv:2406.05223); not compared elsewhere",
)
