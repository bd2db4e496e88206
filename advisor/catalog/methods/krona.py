"""A trained Kronecker product added to each weight; merges."""

from advisor.catalog.methods.builders import NOT_STUDIED, ONE_AT_A_TIME, QUANTISED, number, paper, rate, targets
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="krona",
    title="KronA",
    says="a trained Kronecker product added to each weight; merges",
    family="reparameterised",
    subfamily="Kronecker",
    paper=paper("2212.10650"),
    year=2022,
    options={
        "scale": number(1.0, paper("2212.10650", "tuned per task"), 0.05, 16, "weight of the update", True),
        "target_modules": targets("attention-qv", paper("2212.10650", "query and value")),
    },
    learning_rate=rate(1e-3, paper("2212.10650", "rates of 1e-4 to 1e-2 searched: assumed from the range"), 1e-4, 1e-2),
    attach="advisor.assembly.adapters.kronecker:attach_krona",
    bases=QUANTISED,
    mergeable=True,
    serving=ONE_AT_A_TIME,
    evidence_names=("krona",),
    failure_modes=("the factors' sizes follow from the widths: no rank to choose",),
    forgetting=NOT_STUDIED,
)
