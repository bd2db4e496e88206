"""Rotates pairs of activations by learned angles."""

from advisor.catalog.methods.builders import (
    MIXED,
    NOT_STUDIED,
    QUANTISED,
    choice,
    dividing,
    keywords,
    library,
    paper,
    rate,
    targets,
)
from advisor.catalog.methods.method import Method, Option

METHOD = Method(
    name="road",
    title="RoAd",
    says="rotates pairs of activations by learned angles",
    family="reparameterised",
    subfamily="2-D rotations of activations",
    paper=paper("2409.00119"),
    year=2024,
    options={
        "variant": choice(
            "road_1", library("road/config.py, variant"), ("road_1", "road_2", "road_4"), "1, 2 or 4 parameters a pair"
        ),
        "group_size": Option(
            None,
            library("road/config.py, group_size: 64"),
            "pairs are formed within groups of this width (None: largest divisor up to 64)",
            2,
            512,
            log=True,
        ),
        "target_modules": targets(),
    },
    learning_rate=rate(3e-3, paper("2409.00119", "3e-3 on LLaMA, about 10 times additive methods' rates"), 3e-4, 3e-2),
    peft_type="ROAD",
    peft_options=dividing("group_size", 64, keywords()),
    bases=QUANTISED,
    mergeable=True,
    serving=MIXED,
    transposed=False,
    evidence_names=("road",),
    failure_modes=("group_size must divide the output width",),
    forgetting=NOT_STUDIED,
)
