"""LoRA whose factors are mixed from frozen random ones."""

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    ONE_AT_A_TIME,
    QUANTISED,
    alpha,
    number,
    paper,
    rank,
    rate,
    targets,
)
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="nola",
    title="NOLA",
    says="LoRA whose factors are mixed from frozen random ones",
    family="reparameterised",
    subfamily="random-basis low-rank",
    paper=paper("2310.02556"),
    year=2023,
    options={
        "rank": rank(4, paper("2310.02556", "rank 4 to 8")),
        "bases": number(64, paper("2310.02556", "64 to 1024"), 8, 4096, "random factors mixed", True),
        "alpha": alpha(None, paper("2310.02556", "as LoRA's")),
        "target_modules": targets(),
    },
    learning_rate=rate(1e-3, paper("2502.00987", "1e-3 on CLIP, 1e-4 on Qwen2-0.5B"), 1e-4, 1e-1),
    attach="advisor.assembly.adapters.low_rank:attach_nola",
    bases=QUANTISED,
    mergeable=True,
    serving=ONE_AT_A_TIME,
    checkpoint="the coefficients and the random bases' seed",
    evidence_names=("nola",),
    failure_modes=(
        "here the random factors are kept, shared by layers of one shape; the authors draw them anew at every use",
    ),
    forgetting=NOT_STUDIED,
)
