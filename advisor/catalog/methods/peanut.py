"""A small network turns each frozen weight into its update."""

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    SWITCHED,
    UNQUANTISED,
    comparison,
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
    name="peanut",
    title="PEANuT",
    says="a small network turns each frozen weight into its update",
    family="additive",
    subfamily="weight-aware neural tweaker",
    paper=paper("2410.01870"),
    year=2024,
    options={
        "rank": rank(32, library("peanut/config.py, r")),
        "depth": number(0, library("peanut/config.py, depth"), 0, 4, "hidden layers"),
        "scaling": number(
            2.0, comparison("peanut/llama-3.2-3B-rank32-relu-depth0-s2.0"), 0.1, 64, "scale of the update", True
        ),
        "target_modules": targets(),
    },
    learning_rate=rate(1e-4, comparison("peanut/llama-3.2-3B-rank32-relu-depth0-s2.0"), 1e-5, 1e-2),
    peft_type="PEANUT",
    peft_options=keywords(),
    bases=UNQUANTISED,
    mergeable=True,
    serving=SWITCHED,
    transposed=False,
    evidence_names=("peanut",),
    failure_modes=("passes every full weight through the network at every step",),
    forgetting=NOT_STUDIED,
)
