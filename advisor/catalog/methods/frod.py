"""Full-rank update from a basis shared by all layers of a kind, trained sparsely."""

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    SWITCHED,
    UNQUANTISED,
    comparison,
    dropout,
    keywords,
    library,
    number,
    rate,
    targets,
)
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="frod",
    title="FRoD",
    says="full-rank update from a basis shared by all layers of a kind, trained sparsely",
    family="reparameterised",
    subfamily="full-rank, rotational degrees",
    paper=library("frod/config.py"),
    year=2025,
    options={
        "sparsity": number(
            0.01, library("frod/config.py, sparse_rate"), 0.0, 1.0, "share of off-diagonal entries trained"
        ),
        "dropout": dropout(0.0, library("frod/config.py, frod_dropout")),
        "target_modules": targets("attention-qv", comparison("frod/llama-3.2-3B-default")),
    },
    learning_rate=rate(1e-3, comparison("frod/llama-3.2-3B-sparse0.02-lr_0.001"), 1e-4, 1e-2),
    peft_type="FROD",
    peft_options=keywords({"sparsity": "sparse_rate", "dropout": "frod_dropout"}, progressbar=False),
    bases=UNQUANTISED,
    mergeable=True,
    serving=SWITCHED,
    start_up="a joint decomposition of all layers' weights of a kind, on the CPU in float64: minutes",
    identity_at_start=False,
    evidence_names=("frod",),
    failure_modes=(
        "its frozen factors stay on the CPU and are copied at every layer and step",
        "the decomposition must be inverted: starts near, not at, the base model",
    ),
    forgetting=NOT_STUDIED,
)
