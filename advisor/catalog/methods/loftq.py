"""LoftQ: LoRA that starts by making up for the error of quantising the base."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from advisor.catalog.methods.builders import (
    LORA_SERVED,
    NOT_STUDIED,
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
    plain = {name: value for name, value in options.items() if name != "iterations"}
    loftq = {"loftq_bits": 4, "loftq_iter": options["iterations"]}
    return {**lora_keywords()(spec, plain), "init_lora_weights": "loftq", "loftq_config": loftq}


METHOD = Method(
    name="loftq",
    title="LoftQ",
    says="LoRA started from what 4-bit rounding lost of each weight",
    family="reparameterised",
    subfamily="low-rank, quantisation-aware init",
    paper=paper("2310.08659"),
    year=2023,
    options=lora_options(
        alpha_default=16,
        alpha_source=paper("2310.08659", "alpha = r"),
        iterations=number(
            1, library("lora/config.py, LoftQConfig.loftq_iter"), 1, 10, "rounds of quantise and decompose"
        ),
    ),
    learning_rate=rate(3e-4, paper("2310.08659", "table 14: 1e-4 to 4e-4"), 3e-5, 3e-3),
    peft_type="LORA",
    peft_options=_options,
    adapter_marks={"init_lora_weights": "loftq"},
    bases=UNQUANTISED,
    mergeable=True,
    serving=LORA_SERVED,
    start_up="quantisation and an SVD of every target per round, from the 16-bit weights",
    checkpoint="A and B, and the rounded base they were made for",
    evidence_names=("loftq",),
    identity_at_start=False,
    failure_modes=(
        "starts from 16-bit weights: the machine that initialises must hold them",
        "peft leaves the base in 16 bits with 4-bit values: save it and load it in 4 bits to save memory",
        "its start needs a GPU",
    ),
    forgetting=NOT_STUDIED,
)
