"""Trains a dense difference and a mask that learns to be sparse."""

from advisor.catalog.methods.builders import NOT_STUDIED, UNQUANTISED, number, paper, rate, targets
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="diff-pruning",
    title="diff pruning",
    says="trains a dense difference and a mask that learns to be sparse",
    family="selective",
    subfamily="unstructured mask (L0)",
    paper=paper("2012.07463"),
    year=2021,
    options={
        "penalty": number(
            1.25e-7, paper("2012.07463", "section 4.2"), 1e-9, 1e-4, "weight of the number of entries", True
        ),
        "target_modules": targets("all-linear", paper("2012.07463", "all weights")),
    },
    learning_rate=rate(5e-5, paper("2012.07463", "Adam as for BERT"), 1e-5, 1e-3),
    attach="advisor.assembly.adapters.sparse:attach_diff_pruning",
    bases=UNQUANTISED,
    mergeable=True,
    serving="store the sparse difference of each task",
    identity_at_start=True,
    evidence_names=("diff_pruning", "diff-pruning"),
    failure_modes=("trains two numbers per weight: more memory than full fine-tuning", "saves storage, not training"),
    forgetting=NOT_STUDIED,
)
