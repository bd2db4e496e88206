"""A handful of numbers steers frozen singular directions."""

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
    name="tinylora",
    title="TinyLoRA",
    says="a handful of numbers steers frozen singular directions",
    family="reparameterised",
    subfamily="a few parameters",
    paper=paper("2602.04118"),
    year=2026,
    options={
        "rank": rank(2, library("tinylora/config.py, r"), 1, 16),
        "numbers": number(64, library("tinylora/config.py, u"), 1, 1024, "numbers trained a group of layers", True),
        "tying": number(0.0, library("tinylora/config.py, weight_tying"), 0.0, 1.0, "share of layers that share them"),
        "dropout": dropout(0.0, library("tinylora/config.py, tinylora_dropout")),
        "target_modules": targets("attention-qv", comparison("tinylora/llama-3.2-3B-default")),
    },
    learning_rate=rate(1e-3, comparison("tinylora/llama-3.2-3B-default"), 1e-4, 1e-1),
    peft_type="TINYLORA",
    peft_options=keywords({"numbers": "u", "tying": "weight_tying", "dropout": "tinylora_dropout"}),
    bases=UNQUANTISED,
    mergeable=True,
    serving=SWITCHED,
    unrolls=False,
    start_up="an SVD of every target",
    evidence_names=("tinylora",),
    failure_modes=(
        "made for reinforcement learning of a few bits; tiny capacity for anything else",
        "slow start: its numbers begin near zero",
    ),
    forgetting=NOT_STUDIED,
)
