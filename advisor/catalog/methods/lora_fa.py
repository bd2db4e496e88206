"""LoRA-FA: LoRA with A frozen, so that inputs need not be kept for it."""

from advisor.catalog.methods.builders import (
    LORA_SERVED,
    NOT_STUDIED,
    QUANTISED,
    library,
    lora_keywords,
    lora_options,
    paper,
    rate,
)
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="lora-fa",
    title="LoRA-FA",
    says="LoRA with A frozen: half the trained weights, no input kept for A",
    family="reparameterised",
    subfamily="low-rank, A frozen",
    paper=paper("2308.03303"),
    year=2023,
    options=lora_options(
        rank_default=128,
        rank_source=library("developer_guides/lora.md, LoRA-FA example: 128"),
        alpha_default=32,
        alpha_source=library("developer_guides/lora.md, LoRA-FA example: 32"),
    ),
    learning_rate=rate(7e-5, library("developer_guides/lora.md, LoRA-FA example"), 7e-6, 7e-3),
    peft_type="LORA",
    peft_options=lora_keywords(),
    optimizer="lorafa",
    unrolls=False,
    after="advisor.assembly.attach:freeze_lora_a",
    bases=QUANTISED,
    mergeable=True,
    serving=LORA_SERVED,
    evidence_names=("lora_fa", "lora-fa"),
    failure_modes=("its optimizer solves a small system per layer at each step, in a Python loop",),
    forgetting=NOT_STUDIED,
)
