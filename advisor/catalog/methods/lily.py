"""Low-rank factors shared across layers, mixed by a router."""

from advisor.catalog.methods.builders import (
    SWITCHED,
    UNQUANTISED,
    comparison,
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
    name="lily",
    fewest_layers=6,
    title="Lily",
    says="low-rank factors shared across layers, mixed by a router",
    family="reparameterised",
    subfamily="cross-layer shared low-rank",
    paper=paper("2407.09946"),
    year=2024,
    options={
        "rank": rank(32, library("lily/config.py, r"), 1, 1024),
        "share_every": number(1, library("lily/config.py, stride_A"), 1, 32, "layers that share one A"),
        "experts": number(2, library("lily/config.py, num_B"), 2, 16, "shared Bs"),
        "scaling": number(
            2.0, comparison("lily/llama-3.2-3B-rank896-a2-b2-s2.0"), 0.1, 16, "scale of the update", True
        ),
        "target_modules": targets("attention-qv", comparison("lily/llama-3.2-3B-rank896-a2-b2-s2.0")),
    },
    learning_rate=rate(1e-4, comparison("lily/llama-3.2-3B-rank896-a2-b2-s2.0"), 1e-5, 1e-2),
    peft_type="LILY",
    peft_options=keywords({"share_every": "stride_A", "experts": "num_B"}),
    bases=UNQUANTISED,
    mergeable=False,
    inference_overhead="router and shared factors at every layer",
    serving=SWITCHED,
    transposed=False,
    evidence_names=("lily",),
    failure_modes=("cannot be merged: the mix depends on the input",),
    forgetting="0.216 in peft's comparison (MLP targets), four times LoRA's 0.050",
)
