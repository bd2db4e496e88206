"""Rotates each weight by a chain of Householder reflections."""

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    SWITCHED,
    UNQUANTISED,
    keywords,
    library,
    paper,
    rank,
    rate,
    targets,
)
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="hra",
    title="HRA",
    says="rotates each weight by a chain of Householder reflections",
    family="reparameterised",
    subfamily="orthogonal, Householder",
    paper=paper("2405.17484"),
    year=2024,
    options={
        "rank": rank(8, library("hra/config.py, r"), 1, 64, "number of reflections"),
        "target_modules": targets("attention-qv", library("hra/model.py, default targets")),
    },
    learning_rate=rate(
        1e-3, paper("2405.17484", "no setting in our evidence: LoRA-like range, high end assumed"), 1e-4, 1e-2
    ),
    peft_type="HRA",
    peft_options=keywords(),
    bases=UNQUANTISED,
    mergeable=True,
    serving=SWITCHED,
    transposed=False,
    evidence_names=("hra",),
    failure_modes=(
        "reflections are applied one after another: slow for high rank",
        "an even number of reflections starts as the identity, an odd one does not",
    ),
    forgetting=NOT_STUDIED,
)
