"""Rotates the principal subspace of each weight."""

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    SWITCHED,
    UNQUANTISED,
    alpha,
    choice,
    comparison,
    dropout,
    keywords,
    library,
    paper,
    rank,
    rate,
    targets,
)
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="psoft",
    title="PSOFT",
    says="rotates the principal subspace of each weight",
    family="reparameterised",
    subfamily="orthogonal in principal subspace",
    paper=paper("2505.11235"),
    year=2025,
    options={
        "rank": rank(32, library("psoft/config.py, r")),
        "alpha": alpha(32, library("psoft/config.py, psoft_alpha")),
        "dropout": dropout(0.0, library("psoft/config.py, psoft_dropout")),
        "fast_svd": choice(
            "full", library("psoft/config.py, psoft_svd"), ("full", "lowrank"), "exact or randomised SVD at the start"
        ),
        "target_modules": targets(),
    },
    learning_rate=rate(
        1e-3, comparison("psoft: 1e-4 as run; ten times more assumed for so few parameters"), 1e-4, 1e-2
    ),
    peft_type="PSOFT",
    peft_options=keywords({"alpha": "psoft_alpha", "dropout": "psoft_dropout", "fast_svd": "psoft_svd"}),
    bases=UNQUANTISED,
    mergeable=True,
    serving=SWITCHED,
    transposed=False,
    start_up="an SVD of every target, in float32",
    evidence_names=("psoft",),
    failure_modes=("starts from an SVD of every target",),
    forgetting=NOT_STUDIED,
)
