"""LoRA cut into blocks, each with its own low-rank update."""

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    SWITCHED,
    UNQUANTISED,
    alpha,
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
    name="gralora",
    title="GraLoRA",
    says="LoRA cut into blocks, each with its own low-rank update",
    family="reparameterised",
    subfamily="granular low-rank",
    paper=paper("2505.20355"),
    year=2025,
    options={
        "rank": rank(32, library("gralora/config.py, r")),
        "alpha": alpha(None, library("gralora/config.py, alpha: 64 at rank 32")),
        "blocks": number(2, library("gralora/config.py, gralora_k"), 1, 16, "blocks along each side"),
        "dropout": dropout(0.0, library("gralora/config.py, gralora_dropout")),
        "target_modules": targets(),
    },
    learning_rate=rate(2e-4, comparison("gralora/llama-3.2-3B-rank32"), 2e-5, 2e-3),
    peft_type="GRALORA",
    peft_options=keywords({"blocks": "gralora_k", "dropout": "gralora_dropout"}),
    bases=UNQUANTISED,
    mergeable=True,
    serving=SWITCHED,
    evidence_names=("gralora",),
    failure_modes=("blocks must divide the rank and both widths",),
    forgetting=NOT_STUDIED,
)
