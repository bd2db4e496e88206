"""Trains the largest entries of each weight."""

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    SWITCHED,
    UNQUANTISED,
    keywords,
    library,
    number,
    paper,
    rate,
    targets,
)
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="supertuning",
    title="SuperTuning",
    says="trains the largest entries of each weight",
    family="selective",
    subfamily="unstructured mask by weight magnitude",
    paper=paper("2607.09287"),
    year=2026,
    options={
        "sparsity": number(
            0.99, library("supertuning/config.py, sparsity"), 0.5, 0.9999, "share of entries left frozen"
        ),
        "target_modules": targets(),
    },
    learning_rate=rate(2e-4, library("supertuning: no setting known; LoRA's assumed"), 2e-5, 2e-3),
    peft_type="SUPERTUNING",
    peft_options=keywords(),
    bases=UNQUANTISED,
    mergeable=True,
    serving=SWITCHED,
    transposed=False,
    needs_peft="0.21.0",
    start_up="a sort of every target's entries",
    evidence_names=("supertuning",),
    failure_modes=("new and not yet studied",),
    forgetting=NOT_STUDIED,
)
