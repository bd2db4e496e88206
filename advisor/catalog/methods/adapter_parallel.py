"""A bottleneck beside the feed-forward, from its input to its output."""

from advisor.catalog.methods.builders import NOT_STUDIED, ONE_AT_A_TIME, QUANTISED, choice, flag, number, paper, rate
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="adapter-parallel",
    fewest_layers=6,
    title="parallel adapter",
    says="a bottleneck beside the feed-forward, from its input to its output",
    family="additive",
    subfamily="parallel adapter",
    paper=paper("2110.04366"),
    year=2022,
    options={
        "bottleneck": number(256, paper("2304.01933", "256 on LLaMA"), 1, 1024, "width", True),
        "scale": number(1.0, paper("2110.04366", "plain: 1; scaled: 4"), 0.1, 16, "weight of the branch", True),
        "attention": flag(
            False, paper("2110.04366", "section 4.3: the feed-forward is the better place"), "beside attention too"
        ),
        "activation": choice(
            "relu",
            paper("2110.04366", "section 4: bottleneck 512 for the feed-forward"),
            ("gelu", "relu", "silu"),
            "inner function",
        ),
    },
    learning_rate=rate(3e-4, paper("2304.01933", "released settings: 3e-4"), 3e-5, 3e-3),
    attach="advisor.assembly.adapters.bottleneck:attach_parallel",
    bases=QUANTISED,
    inference_overhead="two small layers beside every feed-forward",
    serving=ONE_AT_A_TIME,
    evidence_names=("adapter_parallel",),
    failure_modes=("cannot be merged: the latency stays",),
    forgetting=NOT_STUDIED,
)
