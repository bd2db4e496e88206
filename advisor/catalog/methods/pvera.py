"""VeRA whose inner vector is a learned distribution."""

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    QUANTISED,
    SWITCHED,
    comparison,
    dropout,
    keywords,
    library,
    number,
    paper,
    rank,
    rate,
    targets,
)
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="pvera",
    title="PVeRA",
    says="VeRA whose inner vector is a learned distribution",
    family="reparameterised",
    subfamily="probabilistic VeRA",
    paper=paper("2512.07703"),
    year=2025,
    options={
        "rank": rank(256, library("pvera/config.py, r"), 16, 2048),
        "initial_scale": number(
            0.1, library("pvera/config.py, d_initial"), 0.01, 1, "first value of the inner vector", True
        ),
        "dropout": dropout(0.0, library("pvera/config.py, pvera_dropout")),
        "target_modules": targets("attention-qv", comparison("pvera/llama-3.2-3B-default")),
    },
    learning_rate=rate(3e-3, comparison("pvera/llama-3.2-3B-default"), 3e-4, 3e-2),
    peft_type="PVERA",
    any_rank=True,
    peft_options=keywords({"initial_scale": "d_initial", "dropout": "pvera_dropout"}),
    bases=QUANTISED,
    mergeable=True,
    serving=SWITCHED,
    evidence_names=("pvera",),
    failure_modes=("random draws in every training step: results vary between runs",),
    forgetting=NOT_STUDIED,
)
