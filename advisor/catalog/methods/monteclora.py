"""MonteCLoRA: LoRA whose A is drawn from a learned distribution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    REPOSITORIES,
    SWITCHED,
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
    plain = {name: value for name, value in options.items() if name != "samples"}
    return {**lora_keywords()(spec, plain), "monteclora_config": {"num_samples": options["samples"]}}


METHOD = Method(
    name="monteclora",
    title="MonteCLoRA",
    says="Bayesian LoRA: Monte Carlo samples around A make training steadier",
    family="reparameterised",
    subfamily="Bayesian low-rank",
    paper=paper("2411.04358"),
    year=2024,
    options=lora_options(
        samples=number(8, library("lora/config.py, MontecloraConfig.num_samples"), 1, 64, "samples a step", True)
    ),
    learning_rate=rate(2e-4, REPOSITORIES, 2e-5, 2e-3, "as LoRA's: no setting of its own known"),
    peft_type="LORA",
    peft_options=_options,
    adapter_marks={"monteclora_config": True},
    bases=UNQUANTISED,
    mergeable=True,
    serving=SWITCHED,
    needs_peft="0.21.0",
    checkpointing=False,
    evidence_names=("monteclora",),
    transposed=False,
    failure_modes=(
        "keeps 150 x samples x width x rank numbers drawn in advance on the device: gigabytes over all layers",
        "draws new samples when a block is recomputed: does not work under gradient checkpointing",
        "its regulariser acts only where the trainer adds it to the loss",
    ),
    forgetting=NOT_STUDIED,
)
