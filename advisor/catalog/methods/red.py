"""Scales and shifts what each feed-forward adds."""

from advisor.catalog.methods.builders import NOT_STUDIED, ONE_AT_A_TIME, QUANTISED, paper, rate
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="red",
    fewest_layers=6,
    title="RED",
    says="scales and shifts what each feed-forward adds",
    family="additive",
    subfamily="representation edit",
    paper=paper("2402.15179"),
    year=2024,
    options={},
    learning_rate=rate(1e-3, paper("2402.15179", "no setting in our evidence: as SSF's, assumed"), 1e-4, 1e-2),
    attach="advisor.assembly.adapters.scaling:attach_red",
    bases=QUANTISED,
    mergeable=True,
    inference_overhead="none once merged",
    serving=ONE_AT_A_TIME,
    evidence_names=("red",),
    failure_modes=("tiny capacity",),
    forgetting=NOT_STUDIED,
)
