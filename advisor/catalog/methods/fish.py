"""Trains the fixed share of each weight with the highest Fisher information."""

from advisor.catalog.methods.builders import NOT_STUDIED, ONE_AT_A_TIME, UNQUANTISED, number, paper, rate, targets
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="fish-mask",
    title="FISH mask",
    says="trains the fixed share of each weight with the highest Fisher information",
    family="selective",
    subfamily="unstructured mask (Fisher)",
    paper=paper("2111.09839"),
    year=2021,
    options={
        "share": number(
            0.005, paper("2111.09839", "0.5 % of the weights"), 0.0001, 0.5, "share of entries trained", True
        ),
        "target_modules": targets("all-linear", paper("2111.09839", "all weights")),
    },
    learning_rate=rate(3e-4, paper("2205.05638", "appendix D: 3e-4"), 3e-5, 3e-3),
    attach="advisor.assembly.adapters.sparse:attach_fish",
    bases=UNQUANTISED,
    mergeable=True,
    serving=ONE_AT_A_TIME,
    needs_data=True,
    start_reads=(1024, "rows"),  # the authors' command for table 1 (github.com/varunnair18/FISH): 1024 samples
    start_up="gradients of every target over some batches",
    checkpoint="the trained entries and their positions",
    evidence_names=("fishmask", "fish"),
    failure_modes=(
        "forms a full weight a layer at every step",
        "each layer keeps an equal share, the published mask the best of the whole model",
    ),
    forgetting=NOT_STUDIED,
)
