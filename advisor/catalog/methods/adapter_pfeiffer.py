"""Pfeiffer adapters: one bottleneck a layer, after the feed-forward."""

from advisor.catalog.methods.builders import NOT_STUDIED, ONE_AT_A_TIME, QUANTISED, choice, number, paper, rate
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="adapter-pfeiffer",
    fewest_layers=6,
    title="Pfeiffer adapter",
    says="a small bottleneck network after the feed-forward of every layer: half of Houlsby's",
    family="additive",
    subfamily="serial adapter (after feed-forward only)",
    paper=paper("2005.00052"),
    year=2020,
    options={
        "bottleneck": number(
            64, paper("2005.00052", "reduction factor 16 or less of the hidden size"), 1, 1024, "width", True
        ),
        "activation": choice("relu", paper("2005.00052", "released code"), ("gelu", "relu", "silu"), "inner function"),
    },
    learning_rate=rate(
        1e-3, paper("2005.00052", "1e-4 as published; 1e-3 and 5e-4 best in UniPELT's grid"), 1e-4, 3e-3
    ),
    attach="advisor.assembly.adapters.bottleneck:attach_pfeiffer",
    bases=QUANTISED,
    inference_overhead="two small layers in sequence per layer",
    serving=ONE_AT_A_TIME,
    core=True,
    evidence_names=("adapter_pfeiffer", "bn-adapter", "pfeiffer"),
    failure_modes=("cannot be merged: the latency stays",),
    forgetting=NOT_STUDIED,
)
