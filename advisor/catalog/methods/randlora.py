"""A full-rank update from frozen random bases and trained scales."""

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    QUANTISED,
    SWITCHED,
    comparison,
    dropout,
    keywords,
    library,
    paper,
    rank,
    rate,
    targets,
)
from advisor.catalog.methods.method import Method, Option

METHOD = Method(
    name="randlora",
    title="RandLoRA",
    says="a full-rank update from frozen random bases and trained scales",
    family="reparameterised",
    subfamily="full-rank from random bases",
    paper=paper("2502.00987"),
    year=2025,
    options={
        "rank": rank(
            32, library("randlora/config.py, r"), 1, 512, "width of each random base: LESS means more of them"
        ),
        "alpha": Option(
            640, library("randlora/config.py, randlora_alpha"), "scale (peft: 20 times the rank)", 1, 10240, log=True
        ),
        "dropout": dropout(0.0, library("randlora/config.py, randlora_dropout")),
        "target_modules": targets("attention-qv", comparison("randlora/llama-3.2-3B-default")),
    },
    learning_rate=rate(1e-4, comparison("randlora/llama-3.2-3B-default"), 1e-5, 1e-2),
    peft_type="RANDLORA",
    any_rank=True,
    peft_options=keywords({"alpha": "randlora_alpha", "dropout": "randlora_dropout"}),
    bases=QUANTISED,
    mergeable=True,
    serving=SWITCHED,
    evidence_names=("randlora",),
    failure_modes=("a smaller rank trains more parameters", "forms the update from all bases at every step"),
    forgetting=NOT_STUDIED,
)
