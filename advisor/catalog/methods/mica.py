"""MiCA: LoRA on the minor components of each weight, only A trained."""

from advisor.catalog.methods.builders import (
    LORA_SERVED,
    NOT_STUDIED,
    UNQUANTISED,
    comparison,
    lora_keywords,
    lora_options,
    paper,
    rate,
)
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="mica",
    title="MiCA",
    says="B frozen at the weight's smallest singular vectors, A trained from zero",
    family="reparameterised",
    subfamily="low-rank, minor components",
    paper=paper("2604.01694"),
    year=2026,
    options=lora_options(rank_default=32, rank_source=comparison("lora/llama-3.2-3B-rank32-mica")),
    learning_rate=rate(1e-4, comparison("lora/llama-3.2-3B-rank32-mica"), 1e-5, 1e-2),
    peft_type="LORA",
    peft_options=lora_keywords(init_lora_weights="mica"),
    adapter_marks={"init_lora_weights": "mica"},
    bases=UNQUANTISED,
    mergeable=True,
    serving=LORA_SERVED,
    needs_peft="0.20.0",
    start_up="an exact SVD of every target, in float32",
    evidence_names=("lora_mica", "mica"),
    failure_modes=("rank must not exceed the layer's smaller width",),
    forgetting=NOT_STUDIED,
)
