"""EVA: LoRA that starts from the principal directions of each layer's activations, ranks shared out by variance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from advisor.catalog.methods.builders import (
    LORA_SERVED,
    NOT_STUDIED,
    QUANTISED,
    REPOSITORIES,
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
    plain = {name: value for name, value in options.items() if name != "rho"}
    return {**lora_keywords()(spec, plain), "init_lora_weights": "eva", "eva_config": {"rho": options["rho"]}}


METHOD = Method(
    name="eva",
    title="EVA",
    says="LoRA started from an SVD of activations; ranks go where the variance is",
    family="reparameterised",
    subfamily="low-rank, activation-SVD init, adaptive rank",
    paper=paper("2410.07170"),
    year=2024,
    options=lora_options(
        rho=number(2.0, library("lora/config.py, EvaConfig.rho"), 1.0, 4.0, "how many times its rank a layer may get")
    ),
    learning_rate=rate(2e-4, REPOSITORIES, 2e-5, 2e-3, "as LoRA's: no setting of its own known"),
    peft_type="LORA",
    peft_options=_options,
    adapter_marks={"init_lora_weights": "eva"},
    bases=QUANTISED,
    mergeable=True,
    serving=LORA_SERVED,
    needs_data=True,
    # more than peft's EVA needs to settle (tau 0.99); it stops by itself, and goes round if not
    start_reads=(1024, "rows"),
    start_up="forward passes over training batches with an incremental SVD at every target, until it settles",
    evidence_names=("eva",),
    failure_modes=(
        "ranks differ by layer after initialisation: parameters and memory may differ from the equal ranks priced here",
    ),
    forgetting=NOT_STUDIED,
)
