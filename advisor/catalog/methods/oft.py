"""OFT: each frozen weight is multiplied by a trained block-diagonal orthogonal matrix."""

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    QUANTISED,
    SWITCHED,
    comparison,
    dropout,
    flag,
    keywords,
    library,
    number,
    paper,
    rate,
    targets,
)
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="oft",
    title="OFT",
    says="rotates each frozen weight by a trained block-diagonal orthogonal matrix",
    family="reparameterised",
    subfamily="orthogonal",
    paper=paper("2306.07280", "and 2506.19847 for the form peft uses"),
    year=2023,
    options={
        "block_size": number(32, library("oft/config.py, oft_block_size"), 2, 512, "width of a block", True),
        "dropout": dropout(0.0, library("oft/config.py, module_dropout")),
        "cayley_neumann": flag(
            True, library("oft/config.py, use_cayley_neumann"), "approximate the inverse by a series"
        ),
        "target_modules": targets(),
    },
    learning_rate=rate(1e-4, comparison("oft/llama-3.2-3B-rank32"), 1e-5, 1e-2),
    peft_type="OFT",
    peft_options=keywords(
        {"block_size": "oft_block_size", "dropout": "module_dropout", "cayley_neumann": "use_cayley_neumann"}, r=0
    ),
    bases=QUANTISED,
    mergeable=True,
    transposed=False,
    serving=SWITCHED,
    core=True,
    evidence_names=("oft", "qoft"),
    failure_modes=("block_size must divide each layer's input width",),
    forgetting=NOT_STUDIED,
)
