"""A trained key-value cache that stands for a long document."""

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    ONE_AT_A_TIME,
    QUANTISED,
    keywords,
    library,
    number,
    paper,
    rate,
)
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="cartridge",
    title="Cartridge",
    says="a trained key-value cache that stands for a long document",
    family="additive",
    subfamily="soft prompt in every layer, from text",
    paper=paper("2506.06266"),
    year=2025,
    options={
        "virtual_tokens": number(128, paper("2506.06266", "128 to 8192"), 1, 8192, "length of the cache", True),
        "frozen_tokens": number(
            1, library("cartridge/config.py, num_frozen_tokens"), 0, 16, "first tokens left as they are"
        ),
    },
    learning_rate=rate(2e-2, paper("2506.06266", "2e-2"), 1e-3, 1e-1),
    peft_type="CARTRIDGE",
    prompt="cache",
    peft_options=keywords({"virtual_tokens": "num_virtual_tokens", "frozen_tokens": "num_frozen_tokens"}),
    architectures=frozenset({"decoder"}),
    tasks=frozenset({"causal-lm"}),
    bases=QUANTISED,
    checkpointing=False,
    inference_overhead="the cache's tokens in every layer",
    serving=ONE_AT_A_TIME,
    unrolls=False,
    identity_at_start=False,
    needs_peft="0.20.0",
    evidence_names=("cartridge",),
    failure_modes=(
        "meant to start from a document's own cache; here it starts at random unless one is given",
        "does not work under gradient checkpointing",
    ),
    forgetting=NOT_STUDIED,
)
