"""A trained bias added to chosen projections."""

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    SWITCHED,
    UNQUANTISED,
    comparison,
    keywords,
    paper,
    rate,
    targets,
)
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="beft",
    fewest_layers=6,
    title="BEFT",
    says="a trained bias added to chosen projections",
    family="selective",
    subfamily="chosen bias terms",
    paper=paper("2509.15974"),
    year=2025,
    options={"target_modules": targets("attention-v", paper("2509.15974", "the value projection's bias"))},
    learning_rate=rate(1e-3, comparison("beft: 1e-4 as run; ten times more assumed, as for BitFit"), 1e-4, 1e-1),
    peft_type="BEFT",
    peft_options=keywords(),
    bases=UNQUANTISED,
    mergeable=False,
    inference_overhead="one addition a layer; merges only where the base layer has a bias",
    serving=SWITCHED,
    transposed=False,
    evidence_names=("beft",),
    failure_modes=("tiny capacity",),
    forgetting=NOT_STUDIED,
)
