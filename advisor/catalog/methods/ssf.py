"""Scales and shifts the output of every linear layer; merges."""

from advisor.catalog.methods.builders import NOT_STUDIED, ONE_AT_A_TIME, QUANTISED, paper, rate, targets
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="ssf",
    title="SSF",
    says="scales and shifts the output of every linear layer; merges",
    family="additive",
    subfamily="scale and shift features",
    paper=paper("2210.08823"),
    year=2022,
    options={"target_modules": targets()},
    learning_rate=rate(1e-3, paper("2210.08823", "made for vision, 1e-3 to 1e-2 there"), 1e-4, 1e-2),
    attach="advisor.assembly.adapters.scaling:attach_ssf",
    bases=QUANTISED,
    mergeable=True,
    serving=ONE_AT_A_TIME,
    evidence_names=("ssf",),
    failure_modes=("made for vision: little evidence on text",),
    forgetting=NOT_STUDIED,
)
