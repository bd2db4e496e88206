"""PiSSA: LoRA that starts from the principal singular vectors of each weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from advisor.catalog.methods.builders import (
    LORA_SERVED,
    NOT_STUDIED,
    UNQUANTISED,
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
    iterations = options["iterations"]
    start = f"pissa_niter_{iterations}" if iterations else "pissa"
    plain = {name: value for name, value in options.items() if name != "iterations"}
    return {**lora_keywords()(spec, plain), "init_lora_weights": start}


METHOD = Method(
    name="pissa",
    title="PiSSA",
    says="LoRA started from each weight's largest singular vectors, the rest frozen",
    family="reparameterised",
    subfamily="low-rank, SVD init",
    paper=paper("2404.02948"),
    year=2024,
    options=lora_options(
        alpha_default=16,
        alpha_source=paper("2404.02948", "alpha = r: the split must restore the weight"),
        iterations=number(
            16,
            paper("2404.02948", "table 3: fast SVD with 16 iterations is as good"),
            0,
            64,
            "power iterations of the fast SVD (0: exact SVD)",
        ),
    ),
    learning_rate=rate(1e-4, paper("2404.02948", "2e-5 as published; 1e-4 in LLaMA-Factory's example"), 1e-5, 1e-3),
    peft_type="LORA",
    peft_options=_options,
    adapter_marks={"init_lora_weights": "pissa"},
    bases=UNQUANTISED,
    mergeable=True,
    serving=LORA_SERVED,
    start_up="an SVD of every target, in float32 (the exact one is far slower than the fast one)",
    checkpoint="A and B; without conversion to LoRA the changed base weights are needed besides",
    identity_at_start=True,
    evidence_names=("pissa", "lora+pissa"),
    failure_modes=(
        "the frozen weight is changed at the start: an adapter saved as is does not fit the original model",
        "its published lead is at one low rate for all methods: no evidence at tuned rates",
    ),
    forgetting=NOT_STUDIED,
)
