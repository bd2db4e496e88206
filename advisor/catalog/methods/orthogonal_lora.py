"""LoRA with orthogonal first factors."""

from advisor.catalog.methods.builders import (
    LORA_SERVED,
    NOT_STUDIED,
    REPOSITORIES,
    UNQUANTISED,
    lora_keywords,
    lora_options,
    rate,
)
from advisor.catalog.methods.method import Method, MethodSource

METHOD = Method(
    name="lora-orthogonal",
    title="LoRA, orthogonal start",
    says="LoRA started from orthogonal factors, both non-zero",
    family="reparameterised",
    subfamily="low-rank, orthogonal init",
    paper=MethodSource(address="https://datta0.github.io/posts/rethink-lora-init/", where="orthogonal initialisation"),
    year=2024,
    options=lora_options(),
    learning_rate=rate(2e-4, REPOSITORIES, 2e-5, 2e-3, "as LoRA's: no setting of its own known"),
    peft_type="LORA",
    peft_options=lora_keywords(init_lora_weights="orthogonal"),
    adapter_marks={"init_lora_weights": "orthogonal"},
    bases=UNQUANTISED,
    mergeable=True,
    serving=LORA_SERVED,
    failure_modes=(
        "the rank must be even",
        "its factors take the dtype of the base weight: not for a quantised base",
    ),
    forgetting=NOT_STUDIED,
)
