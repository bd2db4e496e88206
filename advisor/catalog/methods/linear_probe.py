"""Trains the output layer only."""

from advisor.catalog.methods.builders import NOT_STUDIED, UNQUANTISED, paper, rate
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="linear-probe",
    title="linear probe",
    says="trains the output layer only",
    family="selective",
    subfamily="head only",
    paper=paper("1610.01644"),
    year=2016,
    options={},
    learning_rate=rate(
        1e-3, paper("2202.10054", "probing then fine-tuning: rates well above full fine-tuning's"), 1e-4, 1e-1
    ),
    attach="advisor.assembly.adapters.selective:attach_head_only",
    trains_in_base_dtype=True,
    bases=UNQUANTISED,
    mergeable=True,
    inference_overhead="none",
    serving="one small head per task on a shared body",
    checkpoint="the head",
    evidence_names=("linear_probe", "head_only"),
    failure_modes=(
        "the model's features stay as they are: far behind on hard tasks",
        "impossible where the output layer is tied to the embeddings",
    ),
    forgetting=NOT_STUDIED,
)
