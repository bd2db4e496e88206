"""Rotates each weight by a product of sparse butterfly factors."""

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
    rate,
    targets,
)
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="boft",
    title="BOFT",
    says="rotates each weight by a product of sparse butterfly factors",
    family="reparameterised",
    subfamily="orthogonal, butterfly",
    paper=paper("2311.06243"),
    year=2023,
    options={
        "block_size": number(4, library("boft/config.py, boft_block_size"), 2, 64, "width of a block", True),
        "factors": number(
            1,
            library("boft/config.py, boft_n_butterfly_factor"),
            1,
            6,
            "butterfly factors (more than 1 needs its CUDA extension)",
        ),
        "dropout": dropout(0.0, library("boft/config.py, boft_dropout")),
        "target_modules": targets("attention-qv", comparison("boft/llama-3.2-3B-default")),
    },
    learning_rate=rate(1e-4, comparison("boft/llama-3.2-3B-default"), 1e-5, 1e-2),
    peft_type="BOFT",
    peft_options=keywords(
        {"block_size": "boft_block_size", "factors": "boft_n_butterfly_factor", "dropout": "boft_dropout"}
    ),
    bases=UNQUANTISED,
    mergeable=True,
    serving=SWITCHED,
    transposed=False,
    evidence_names=("boft",),
    failure_modes=(
        "7 times LoRA's time in peft's comparison (6926 s against 942 s)",
        "a width x width permutation is copied from the CPU at every layer and step",
        "inverts every block in float32 at every step",
        "block_size must divide the input width",
    ),
    forgetting=NOT_STUDIED,
)
