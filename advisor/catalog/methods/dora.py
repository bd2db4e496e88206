"""DoRA: LoRA on the direction of each weight column, with a trained magnitude."""

from advisor.catalog.methods.builders import (
    LEARNS_LESS_FORGETS_LESS,
    QUANTISED,
    SWITCHED,
    lora_keywords,
    lora_options,
    paper,
    rate,
)
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="dora",
    title="DoRA",
    says="weights split into magnitude and direction: LoRA moves the direction, a vector the magnitude",
    family="reparameterised",
    subfamily="low-rank + magnitude",
    paper=paper("2402.09353"),
    year=2024,
    options=lora_options(),
    learning_rate=rate(1e-4, paper("2402.09353", "released LLaMA settings: 1e-4 to 2e-4"), 1e-5, 1e-3),
    peft_type="LORA",
    peft_options=lora_keywords(use_dora=True),
    adapter_marks={"use_dora": True},
    bases=QUANTISED,
    mergeable=True,
    inference_overhead="none once merged; slower than LoRA while unmerged",
    serving=SWITCHED,
    core=True,
    evidence_names=("dora",),
    start_up="the norm of every target's weight",
    failure_modes=(
        "26 % more training time than LoRA in peft's comparison (1191 s against 942 s), up to 139 % without caching",
        "the norm needs each weight in full at every step: dequantised on 4-bit bases",
    ),
    forgetting=LEARNS_LESS_FORGETS_LESS,
)
