"""LoRA, a prefix and adapters, each behind a gate that learns when to use it."""

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    ONE_AT_A_TIME,
    QUANTISED,
    alpha,
    choice,
    number,
    paper,
    rank,
    rate,
)
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="unipelt",
    title="UniPELT",
    says="LoRA, a prefix and adapters, each behind a gate that learns when to use it",
    family="hybrid",
    subfamily="gated adapter + prefix + LoRA",
    paper=paper("2110.07577"),
    year=2022,
    options={
        "virtual_tokens": number(
            10, paper("2110.07577", "section 3: prefix 10, bottleneck 48, rank 8"), 1, 200, "length of the prefix", True
        ),
        "bottleneck": number(
            48, paper("2110.07577", "section 3: prefix 10, bottleneck 48, rank 8"), 1, 1024, "width", True
        ),
        "rank": rank(8, paper("2110.07577", "section 3: prefix 10, bottleneck 48, rank 8")),
        "alpha": alpha(16, paper("2110.07577", "section 3: prefix 10, bottleneck 48, rank 8")),
        "activation": choice(
            "relu",
            paper("2110.07577", "section 3: prefix 10, bottleneck 48, rank 8"),
            ("gelu", "relu", "silu"),
            "inner function",
        ),
    },
    learning_rate=rate(5e-4, paper("2110.07577", "grid 1e-4 to 1e-3"), 5e-5, 1e-2),
    attach="advisor.assembly.adapters.hybrid:attach_unipelt",
    prompt="cache",
    bases=QUANTISED,
    checkpointing=False,
    inference_overhead="4 to 27 % of time as published",
    serving=ONE_AT_A_TIME,
    unrolls=False,
    identity_at_start=False,
    evidence_names=("unipelt",),
    failure_modes=(
        "does not work under gradient checkpointing",
        "fails within 3 epochs at some rates (github:xw-yao/peft_comparison)",
    ),
    forgetting=NOT_STUDIED,
)
