"""LoRA: a trained low-rank product beside each frozen linear layer."""

from advisor.catalog.methods.builders import (
    LEARNS_LESS_FORGETS_LESS,
    LORA_SERVED,
    QUANTISED,
    REPOSITORIES,
    library,
    lora_keywords,
    lora_options,
    paper,
    rate,
)
from advisor.catalog.methods.method import Method, Option

METHOD = Method(
    name="lora",
    title="LoRA",
    says="low-rank update beside every frozen linear layer; merges into the weights",
    family="reparameterised",
    subfamily="low-rank",
    paper=paper("2106.09685"),
    year=2021,
    options=lora_options(
        target_parameters=Option(
            None,
            library("lora/config.py, target_parameters"),
            "fused expert weights adapted besides, by parameter name (mixture-of-experts models)",
        ),
    ),
    learning_rate=rate(2e-4, REPOSITORIES, 2e-5, 2e-3),
    peft_type="LORA",
    peft_options=lora_keywords(),
    bases=QUANTISED,
    mergeable=True,
    serving=LORA_SERVED,
    core=True,
    evidence_names=("lora", "lora (r=8)", "lora (r=4)"),
    failure_modes=(
        "attention-only targets lose 8 to 19 points against all linear layers",
        "unstable below about 1,000 samples on small encoders (arXiv:2110.07577)",
        "best rate about 10 times full fine-tuning's on decoders, 50 to 100 times on small encoders",
        "experts that a model keeps in one fused parameter stay frozen unless named in target_parameters",
    ),
    forgetting=LEARNS_LESS_FORGETS_LESS,
)
