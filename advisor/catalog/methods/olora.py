"""OLoRA: LoRA that starts from a QR decomposition of each weight."""

from advisor.catalog.methods.builders import (
    LORA_SERVED,
    NOT_STUDIED,
    REPOSITORIES,
    UNQUANTISED,
    lora_keywords,
    lora_options,
    paper,
    rate,
)
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="olora",
    title="OLoRA",
    says="LoRA started from an orthonormal (QR) basis of each weight",
    family="reparameterised",
    subfamily="low-rank, QR init",
    paper=paper("2406.01775"),
    year=2024,
    options=lora_options(alpha_default=16, alpha_source=paper("2406.01775", "alpha = r")),
    learning_rate=rate(2e-4, REPOSITORIES, 2e-5, 2e-3, "as LoRA's: no setting of its own known"),
    peft_type="LORA",
    peft_options=lora_keywords(init_lora_weights="olora"),
    adapter_marks={"init_lora_weights": "olora"},
    bases=UNQUANTISED,
    mergeable=True,
    transposed=False,
    serving=LORA_SERVED,
    start_up="a QR decomposition of every target, in float32",
    checkpoint="A and B; without conversion to LoRA the changed base weights are needed besides",
    evidence_names=("olora",),
    failure_modes=(
        "the frozen weight is changed at the start: an adapter saved as is does not fit the original model",
    ),
    forgetting=NOT_STUDIED,
)
