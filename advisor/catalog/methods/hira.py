"""A low-rank product multiplied elementwise with the frozen weight: a high-rank update."""

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
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="hira",
    title="HiRA",
    says="a low-rank product multiplied elementwise with the frozen weight: a high-rank update",
    family="reparameterised",
    subfamily="Hadamard with the weight",
    paper=paper("https://openreview.net/forum?id=TwJrTz9cRS"),
    year=2025,
    options={
        "rank": rank(32, library("hira/config.py, r")),
        "dropout": dropout(0.0, library("hira/config.py, hira_dropout")),
        "target_modules": targets(),
    },
    learning_rate=rate(4.5e-3, comparison("hira/llama-3.2-3B-rank32-lr4.5e-3"), 4.5e-4, 4.5e-2),
    peft_type="HIRA",
    peft_options=keywords({"dropout": "hira_dropout"}),
    bases=QUANTISED,
    mergeable=True,
    serving=SWITCHED,
    evidence_names=("hira",),
    failure_modes=("forms a full weight a layer at every step", "needs 20 times LoRA's rate"),
    forgetting=NOT_STUDIED,
)
