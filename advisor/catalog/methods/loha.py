"""The update is an elementwise product of two low-rank products."""

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
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="loha",
    title="LoHa",
    says="the update is an elementwise product of two low-rank products",
    family="reparameterised",
    subfamily="Hadamard low-rank",
    paper=paper("2108.06098"),
    year=2021,
    options={
        "rank": rank(32, comparison("loha/llama-3.2-3B-rank32")),
        "alpha": alpha(None, comparison("loha/llama-3.2-3B-rank32")),
        "dropout": dropout(0.0, library("loha/config.py, module_dropout")),
        "target_modules": targets(),
    },
    learning_rate=rate(1e-4, comparison("loha/llama-3.2-3B-rank32"), 1e-5, 1e-2),
    peft_type="LOHA",
    peft_options=keywords({"dropout": "module_dropout"}),
    bases=UNQUANTISED,
    mergeable=True,
    serving=SWITCHED,
    transposed=False,
    evidence_names=("loha",),
    failure_modes=("forms the full update at every step: memory of one weight a layer",),
    forgetting=NOT_STUDIED,
)
