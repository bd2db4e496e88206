"""rsLoRA: LoRA scaled by alpha / sqrt(rank), so that high ranks keep learning."""

from advisor.catalog.methods.builders import (
    LORA_SERVED,
    QUANTISED,
    comparison,
    library,
    lora_keywords,
    lora_options,
    paper,
    rate,
)
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="rslora",
    title="rsLoRA",
    says="LoRA scaled by alpha / sqrt(rank): high ranks keep their step size",
    family="reparameterised",
    subfamily="low-rank, rank-stabilised",
    paper=paper("2312.03732"),
    year=2023,
    options=lora_options(
        rank_default=64,
        rank_source=comparison("lora/llama-3.2-3B-rank64-rslora"),
        alpha_default=64,
        alpha_source=comparison("lora/llama-3.2-3B-rank64-rslora"),
    ),
    learning_rate=rate(1e-4, comparison("lora/llama-3.2-3B-rank64-rslora"), 1e-5, 1e-3),
    peft_type="LORA",
    peft_options=lora_keywords(use_rslora=True),
    adapter_marks={"use_rslora": True},
    bases=QUANTISED,
    mergeable=True,
    serving=LORA_SERVED,
    core=True,
    evidence_names=("rslora",),
    failure_modes=("at alpha = 2 r the scale is 2 sqrt(r): lower the rate, or alpha, for ranks above 64",),
    forgetting="0.111 at rank 64 in peft's comparison, twice plain LoRA's 0.059: a larger step forgets more",
    sources=(library("lora/config.py, use_rslora"),),
)
