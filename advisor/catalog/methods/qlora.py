"""QLoRA: LoRA on a base held in 4-bit NF4."""

from advisor.catalog.methods.builders import (
    LEARNS_LESS_FORGETS_LESS,
    LORA_SERVED,
    lora_keywords,
    lora_options,
    paper,
    rate,
)
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="qlora",
    title="QLoRA",
    says="LoRA on a base quantised to 4 bits: least memory of all that adapt every layer",
    family="reparameterised",
    subfamily="low-rank on a quantised base",
    paper=paper("2305.14314"),
    year=2023,
    options=lora_options(alpha_default=16, alpha_source=paper("2305.14314", "appendix B")),
    learning_rate=rate(2e-4, paper("2305.14314", "table 9: 2e-4 to 13B, 1e-4 above"), 2e-5, 1e-3),
    peft_type="LORA",
    peft_options=lora_keywords(),
    default_base="nf4",
    bases=frozenset({"nf4", "int8"}),
    mergeable=True,
    serving=LORA_SERVED,
    core=True,
    evidence_names=("qlora", "lora_nf4", "qlora_nf4"),
    start_up="quantisation of every linear weight while loading",
    failure_modes=(
        "39 % slower than LoRA on a 16-bit base for 33 % less memory (Raschka's runs)",
        "merging into the 4-bit weights rounds; merge into the 16-bit weights instead",
    ),
    forgetting=LEARNS_LESS_FORGETS_LESS,
    sources=(paper("2305.14314", "NF4 with double quantisation equals bf16: 53.1 against 53.0 on MMLU"),),
)
