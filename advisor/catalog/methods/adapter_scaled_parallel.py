"""A bottleneck beside the feed-forward, its output scaled by 4."""

from advisor.catalog.methods.builders import NOT_STUDIED, ONE_AT_A_TIME, QUANTISED, choice, number, paper, rate
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="adapter-scaled-parallel",
    fewest_layers=6,
    title="scaled parallel adapter",
    says="a bottleneck beside the feed-forward, its output scaled by 4",
    family="additive",
    subfamily="parallel adapter, scaled",
    paper=paper("2110.04366"),
    year=2022,
    options={
        "bottleneck": number(
            512, paper("2110.04366", "section 4: bottleneck 512 for the feed-forward"), 1, 1024, "width", True
        ),
        "scale": number(4.0, paper("2110.04366", "section 4.4: s = 4"), 0.1, 16, "weight of the branch", True),
        "activation": choice(
            "relu",
            paper("2110.04366", "section 4: bottleneck 512 for the feed-forward"),
            ("gelu", "relu", "silu"),
            "inner function",
        ),
    },
    learning_rate=rate(1e-4, paper("2110.04366", "table 8: 1e-4 on GLUE, 5e-5 on generation"), 1e-5, 3e-3),
    attach="advisor.assembly.adapters.bottleneck:attach_parallel",
    bases=QUANTISED,
    inference_overhead="two small layers beside every feed-forward",
    serving=ONE_AT_A_TIME,
    evidence_names=("adapter_scaled_parallel",),
    failure_modes=("cannot be merged: the latency stays",),
    forgetting=NOT_STUDIED,
)
