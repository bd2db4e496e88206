"""All LoRA parameters are read from one short trained vector."""

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    SWITCHED,
    UNQUANTISED,
    comparison,
    dropout,
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
    name="unilora",
    fewest_layers=6,
    title="Uni-LoRA",
    says="all LoRA parameters are read from one short trained vector",
    family="reparameterised",
    subfamily="one shared vector",
    paper=paper("2506.00799"),
    year=2025,
    options={
        "rank": rank(4, library("unilora/config.py, r"), 1, 64),
        "length": number(256, library("unilora/config.py, theta_d_length"), 16, 100000, "numbers trained in all", True),
        "dropout": dropout(0.0, library("unilora/config.py, unilora_dropout")),
        "target_modules": targets("attention-qv", comparison("unilora/llama-3.2-3B-default")),
    },
    learning_rate=rate(5e-3, comparison("unilora: 1e-4 as run; the paper's range assumed"), 1e-4, 5e-2),
    peft_type="UNILORA",
    peft_options=keywords({"length": "theta_d_length", "dropout": "unilora_dropout"}),
    bases=UNQUANTISED,
    mergeable=True,
    serving=SWITCHED,
    identity_at_start=False,
    evidence_names=("unilora",),
    failure_modes=("a few hundred numbers: tiny capacity", "does not start as the base model"),
    forgetting=NOT_STUDIED,
)
