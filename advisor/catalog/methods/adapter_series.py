"""A bottleneck after the feed-forward, sized for large decoders."""

from advisor.catalog.methods.builders import NOT_STUDIED, ONE_AT_A_TIME, QUANTISED, choice, number, paper, rate
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="adapter-series",
    fewest_layers=6,
    title="series adapter (LLM-Adapters)",
    says="a bottleneck after the feed-forward, sized for large decoders",
    family="additive",
    subfamily="serial adapter",
    paper=paper("2304.01933"),
    year=2023,
    options={
        "bottleneck": number(256, paper("2304.01933", "section 3: bottleneck 256"), 1, 1024, "width", True),
        "activation": choice(
            "gelu", paper("2304.01933", "section 3: bottleneck 256"), ("gelu", "relu", "silu"), "inner function"
        ),
    },
    learning_rate=rate(3e-4, paper("2304.01933", "released settings: 3e-4"), 3e-5, 3e-3),
    attach="advisor.assembly.adapters.bottleneck:attach_pfeiffer",
    bases=QUANTISED,
    inference_overhead="two small layers in sequence per sub-layer",
    serving=ONE_AT_A_TIME,
    evidence_names=("adapter_series",),
    failure_modes=(
        "cannot be merged: the latency stays",
        "best after the feed-forward, not after attention (arXiv:2304.01933)",
    ),
    forgetting=NOT_STUDIED,
)
