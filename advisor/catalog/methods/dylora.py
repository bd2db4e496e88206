"""LoRA trained for every rank up to its own at once."""

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    ONE_AT_A_TIME,
    QUANTISED,
    REPOSITORIES,
    alpha,
    paper,
    rank,
    rate,
    targets,
)
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="dylora",
    title="DyLoRA",
    says="LoRA trained for every rank up to its own at once",
    family="reparameterised",
    subfamily="low-rank, dynamic rank",
    paper=paper("2210.07558"),
    year=2022,
    options={
        "rank": rank(8, paper("2210.07558", "ranks 1 to 8")),
        "alpha": alpha(16, paper("2210.07558", "as LoRA's")),
        "target_modules": targets(),
    },
    learning_rate=rate(2e-4, REPOSITORIES, 2e-5, 2e-3, "as LoRA's"),
    attach="advisor.assembly.adapters.low_rank:attach_dylora",
    bases=QUANTISED,
    mergeable=True,
    serving=ONE_AT_A_TIME,
    evidence_names=("dylora",),
    failure_modes=("the random rank of each step makes the loss noisier than LoRA's",),
    forgetting=NOT_STUDIED,
)
