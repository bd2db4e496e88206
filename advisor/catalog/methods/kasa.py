"""KaSA: LoRA in singular-value form on a base freed of its smallest singular values."""

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    REPOSITORIES,
    SWITCHED,
    UNQUANTISED,
    lora_keywords,
    lora_options,
    paper,
    rate,
)
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="kasa",
    title="KaSA",
    says="the base loses its smallest singular values; the update learns its own",
    family="reparameterised",
    subfamily="low-rank, knowledge-aware singular values",
    paper=paper("2412.06071"),
    year=2024,
    options=lora_options(),
    learning_rate=rate(2e-4, REPOSITORIES, 2e-5, 2e-3, "as LoRA's: no setting of its own known"),
    peft_type="LORA",
    peft_options=lora_keywords(kasa_config={}),
    adapter_marks={"kasa_config": True},
    bases=UNQUANTISED,
    mergeable=True,
    transposed=False,
    serving=SWITCHED,
    needs_peft="0.21.0",
    start_up="an exact SVD of every target, in float32",
    identity_at_start=False,
    evidence_names=("kasa",),
    failure_modes=(
        "the base weight is cut: the original cannot be restored from the adapted model",
        "its two regularisers act only where the trainer adds them to the loss",
    ),
    forgetting=NOT_STUDIED,
)
