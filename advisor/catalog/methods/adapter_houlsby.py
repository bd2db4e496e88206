"""Houlsby adapters: a bottleneck after the attention and after the feed-forward of every layer."""

from advisor.catalog.methods.builders import NOT_STUDIED, ONE_AT_A_TIME, QUANTISED, choice, number, paper, rate
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="adapter-houlsby",
    fewest_layers=6,
    title="Houlsby adapter",
    says="a small bottleneck network after attention and after feed-forward in every layer",
    family="additive",
    subfamily="serial adapter",
    paper=paper("1902.00751"),
    year=2019,
    options={
        "bottleneck": number(
            64,
            paper("1902.00751", "section 3.1: 8 to 256, best per task; 64 within 0.4 points"),
            1,
            1024,
            "width",
            True,
        ),
        "activation": choice("gelu", paper("1902.00751", "released code"), ("gelu", "relu", "silu"), "inner function"),
    },
    learning_rate=rate(1e-3, paper("1902.00751", "section 3.1: 3e-5 to 3e-3"), 3e-5, 3e-3),
    attach="advisor.assembly.adapters.bottleneck:attach_houlsby",
    bases=QUANTISED,
    inference_overhead="two small layers in sequence per sub-layer: 2 to 30 % latency (arXiv:2106.09685, table 1)",
    serving=ONE_AT_A_TIME,
    core=True,
    evidence_names=("adapter_houlsby", "houlsby"),
    failure_modes=("cannot be merged: the latency stays",),
    forgetting=NOT_STUDIED,
    sources=(paper("2106.03164", "less sensitive to the rate than full fine-tuning, better at low resource"),),
)
