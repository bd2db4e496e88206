"""LoRA with its norm bounded and learned apart from its direction."""

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
    name="delora",
    title="DeLoRA",
    says="LoRA with its norm bounded and learned apart from its direction",
    family="reparameterised",
    subfamily="normalised low-rank",
    paper=paper("2503.18225"),
    year=2025,
    options={
        "rank": rank(32, comparison("delora/llama-3.2-3B-rank32")),
        "bound": number(15, library("delora/config.py, delora_lambda"), 1, 100, "bound of the update's norm", True),
        "dropout": dropout(0.0, library("delora/config.py, module_dropout")),
        "target_modules": targets(),
    },
    learning_rate=rate(1e-3, comparison("delora/llama-3.2-3B-rank32"), 1e-4, 3e-2),
    peft_type="DELORA",
    peft_options=keywords({"bound": "delora_lambda", "dropout": "module_dropout"}),
    bases=UNQUANTISED,
    mergeable=True,
    serving=SWITCHED,
    transposed=False,
    evidence_names=("delora",),
    failure_modes=("norms of both factors at every step",),
    forgetting=NOT_STUDIED,
)
