"""Trains a fixed sparse selection of each weight's entries."""

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    QUANTISED,
    SWITCHED,
    comparison,
    keywords,
    library,
    paper,
    rank,
    rate,
    targets,
)
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="shira",
    title="SHiRA",
    says="trains a fixed sparse selection of each weight's entries",
    family="selective",
    subfamily="unstructured sparse delta",
    paper=paper("2406.13175"),
    year=2024,
    options={
        "rank": rank(
            32, library("shira/config.py, r"), 1, 256, "sets the number of entries: as many as LoRA of this rank trains"
        ),
        "target_modules": targets("attention-qv", comparison("shira/llama-3.2-3B-lr_0.0003-random_seed_42")),
    },
    learning_rate=rate(3e-4, comparison("shira/llama-3.2-3B-lr_0.0003-random_seed_42"), 3e-5, 3e-3),
    peft_type="SHIRA",
    peft_options=keywords(),
    bases=QUANTISED,
    mergeable=True,
    serving=SWITCHED,
    transposed=False,
    evidence_names=("shira",),
    failure_modes=("scatters into a full weight at every step", "rank x (in + out) must not exceed in x out"),
    forgetting=NOT_STUDIED,
)
