"""VeRA: frozen random low-rank matrices shared by all layers, trained scaling vectors."""

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    QUANTISED,
    SWITCHED,
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
    name="vera",
    title="VeRA",
    says="one pair of frozen random matrices shared by all layers of a shape; two vectors a layer are trained",
    family="reparameterised",
    subfamily="shared random low-rank, vectors trained",
    paper=paper("2310.11454"),
    year=2023,
    options={
        "rank": rank(256, library("vera/config.py, r"), 16, 2048),
        "initial_scale": number(
            0.1, library("vera/config.py, d_initial"), 0.01, 1, "first value of the inner vector", True
        ),
        "dropout": dropout(0.0, library("vera/config.py, vera_dropout")),
        "target_modules": targets("attention-qv", paper("2310.11454", "table 8: query and value")),
    },
    learning_rate=rate(4e-3, paper("2310.11454", "tables 9-11: 2e-3 to 7e-2 for vectors, 4e-3 on LLaMA"), 4e-4, 4e-2),
    peft_type="VERA",
    any_rank=True,
    peft_options=keywords({"initial_scale": "d_initial", "dropout": "vera_dropout"}),
    bases=QUANTISED,
    mergeable=True,
    serving=SWITCHED,
    core=True,
    evidence_names=("vera", "vera (r=256)"),
    checkpoint="the trained vectors, and the random matrices unless save_projection is off",
    failure_modes=(
        "needs 10 to 100 times LoRA's rate",
        "wins at 1 to 16 shots, loses with full data: 74.6 against LoRA's 82.2 on CLIP",
        "no parameters saved in compute: the random matrices are multiplied at full rank",
    ),
    forgetting=NOT_STUDIED,
)
