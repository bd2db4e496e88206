"""A router that mixes LoRA adapters you already have."""

from advisor.catalog.methods.builders import NOT_STUDIED, ONE_AT_A_TIME, keywords, paper, rate
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="xlora",
    title="X-LoRA",
    says="a router that mixes LoRA adapters you already have",
    family="hybrid",
    subfamily="mixture of LoRA experts",
    paper=paper("2402.07148"),
    year=2024,
    options={},
    learning_rate=rate(1e-4, paper("2402.07148"), 1e-5, 1e-3),
    peft_type="XLORA",
    peft_options=keywords(),
    cannot="it needs LoRA adapters trained before, which it learns to mix; nearest legal choice: train lora first",
    architectures=frozenset({"decoder"}),
    inference_overhead="two forward passes a token",
    serving=ONE_AT_A_TIME,
    evidence_names=("xlora",),
    failure_modes=(),
    forgetting=NOT_STUDIED,
)
