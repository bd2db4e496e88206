"""Trains a change of each weight's singular values."""

from advisor.catalog.methods.builders import NOT_STUDIED, ONE_AT_A_TIME, UNQUANTISED, paper, rate, targets
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="svft",
    title="SVFT",
    says="trains a change of each weight's singular values",
    family="reparameterised",
    subfamily="singular values",
    paper=paper("2405.19597"),
    year=2024,
    options={"target_modules": targets()},
    learning_rate=rate(
        1e-3, paper("2405.19597", "5e-5 in PEFT-Bench; higher for so few parameters, assumed"), 5e-5, 5e-2
    ),
    attach="advisor.assembly.adapters.low_rank:attach_svft",
    bases=UNQUANTISED,
    mergeable=True,
    serving=ONE_AT_A_TIME,
    start_up="an exact SVD of every target, in float32",
    evidence_names=("svft",),
    failure_modes=("keeps both singular bases: about twice the weights adapted in extra memory",),
    forgetting=NOT_STUDIED,
)
