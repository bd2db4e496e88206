"""Bottleneck adapters whose weights are sums of Kronecker products with shared factors."""

from advisor.catalog.methods.builders import NOT_STUDIED, ONE_AT_A_TIME, QUANTISED, choice, number, paper, rate
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="compacter",
    fewest_layers=6,
    title="Compacter",
    says="bottleneck adapters whose weights are sums of Kronecker products with shared factors",
    family="additive",
    subfamily="adapter with Kronecker weights",
    paper=paper("2106.04647"),
    year=2021,
    options={
        "bottleneck": number(32, paper("2106.04647", "section 5: N = 4, bottleneck 24 to 48"), 4, 512, "width", True),
        "terms": number(4, paper("2106.04647", "section 5: N = 4, bottleneck 24 to 48"), 2, 12, "Kronecker terms (N)"),
        "activation": choice(
            "gelu",
            paper("2106.04647", "section 5: N = 4, bottleneck 24 to 48"),
            ("gelu", "relu", "silu"),
            "inner function",
        ),
    },
    learning_rate=rate(3e-3, paper("2205.05638", "appendix D: 3e-3; as published 3e-3"), 3e-4, 3e-2),
    attach="advisor.assembly.adapters.kronecker:attach_compacter",
    bases=QUANTISED,
    inference_overhead="as serial adapters, and their weights formed at every use",
    serving=ONE_AT_A_TIME,
    evidence_names=("compacter",),
    failure_modes=("terms must divide hidden width and bottleneck", "cannot be merged"),
    forgetting=NOT_STUDIED,
)
