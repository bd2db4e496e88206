"""Replaces a learned subspace of each weight by a trained one."""

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    SWITCHED,
    UNQUANTISED,
    choice,
    comparison,
    dropout,
    flag,
    keywords,
    library,
    rank,
    rate,
    targets,
)
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="deft",
    title="DEFT",
    says="replaces a learned subspace of each weight by a trained one",
    family="reparameterised",
    subfamily="decompositional",
    paper=library("deft/config.py"),
    year=2025,
    options={
        "rank": rank(32, comparison("deft/llama-3.2-3B-rank32")),
        "parallel": flag(False, library("deft/config.py, para"), "only remove the subspace (fewer parameters)"),
        "decomposition": choice(
            "relu", library("deft/config.py, decomposition_method"), ("relu", "qr"), "how the projector is formed"
        ),
        "dropout": dropout(0.0, library("deft/config.py, deft_dropout")),
        "target_modules": targets(),
    },
    learning_rate=rate(1e-4, comparison("deft/llama-3.2-3B-rank32"), 1e-5, 1e-2),
    peft_type="DEFT",
    peft_options=keywords({"parallel": "para", "decomposition": "decomposition_method", "dropout": "deft_dropout"}),
    bases=UNQUANTISED,
    mergeable=True,
    serving=SWITCHED,
    evidence_names=("deft",),
    failure_modes=("little studied",),
    forgetting=NOT_STUDIED,
)
