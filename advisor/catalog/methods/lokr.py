"""The update is a Kronecker product, its large factor low-rank."""

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    SWITCHED,
    UNQUANTISED,
    alpha,
    comparison,
    dropout,
    keywords,
    library,
    paper,
    rank,
    rate,
    targets,
)
from advisor.catalog.methods.method import Method, Option

METHOD = Method(
    name="lokr",
    title="LoKr",
    says="the update is a Kronecker product, its large factor low-rank",
    family="reparameterised",
    subfamily="Kronecker",
    paper=paper("2309.14859"),
    year=2023,
    options={
        "rank": rank(32, comparison("lokr/llama-3.2-3B-rank32-factor4-lr0.003")),
        "alpha": alpha(None, comparison("lokr/llama-3.2-3B-rank32-factor4-lr0.003")),
        "factor": Option(
            -1,
            library("lokr/config.py, decompose_factor"),
            "size of the small factor (-1: as square as possible)",
            choices=(-1, 2, 4, 8, 16),
        ),
        "dropout": dropout(0.0, library("lokr/config.py, module_dropout")),
        "target_modules": targets(),
    },
    learning_rate=rate(3e-3, comparison("lokr/llama-3.2-3B-rank32-factor4-lr0.003"), 3e-4, 3e-2),
    peft_type="LOKR",
    peft_options=keywords({"dropout": "module_dropout", "factor": "decompose_factor"}),
    bases=UNQUANTISED,
    mergeable=True,
    serving=SWITCHED,
    transposed=False,
    evidence_names=("lokr",),
    failure_modes=("forms the full update at every step",),
    forgetting=NOT_STUDIED,
)
