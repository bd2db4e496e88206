"""One small block shared along each weight's input."""

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    QUANTISED,
    SWITCHED,
    choice,
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
    name="miss",
    title="MiSS",
    says="one small block shared along each weight's input",
    family="reparameterised",
    subfamily="matrix shard sharing",
    paper=paper("2409.15371"),
    year=2024,
    options={
        "rank": rank(64, library("miss/config.py, r")),
        "start": choice(
            True,
            library("miss/config.py, init_weights"),
            (True, "bat", "mini"),
            "form: plain, bat (weight-aware) or mini",
        ),
        "mini_rank": number(1, library("miss/config.py, mini_r"), 1, 64, "rows of the mini form"),
        "dropout": dropout(0.0, library("miss/config.py, miss_dropout")),
        "target_modules": targets(),
    },
    learning_rate=rate(1e-4, comparison("miss/llama-3.2-3B-default"), 2e-5, 1e-3),
    peft_type="MISS",
    peft_options=keywords({"start": "init_weights", "mini_rank": "mini_r", "dropout": "miss_dropout"}),
    bases=QUANTISED,
    mergeable=True,
    serving=SWITCHED,
    transposed=False,
    evidence_names=("miss", "bone"),
    failure_modes=("bat needs widths divisible by the rank",),
    forgetting=NOT_STUDIED,
)
