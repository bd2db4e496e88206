"""A short prefix for attention and a scaled parallel adapter for the feed-forward."""

from advisor.catalog.methods.builders import NOT_STUDIED, ONE_AT_A_TIME, QUANTISED, choice, number, paper, rate
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="mam",
    title="MAM adapter",
    says="a short prefix for attention and a scaled parallel adapter for the feed-forward",
    family="hybrid",
    subfamily="prefix + parallel adapter",
    paper=paper("2110.04366"),
    year=2022,
    options={
        "virtual_tokens": number(
            30,
            paper("2110.04366", "section 4.6: prefix 30, bottleneck 512, scale 4"),
            1,
            200,
            "length of the prefix",
            True,
        ),
        "bottleneck": number(
            512, paper("2110.04366", "section 4.6: prefix 30, bottleneck 512, scale 4"), 1, 1024, "width", True
        ),
        "scale": number(
            4.0,
            paper("2110.04366", "section 4.6: prefix 30, bottleneck 512, scale 4"),
            0.1,
            16,
            "weight of the adapter",
            True,
        ),
        "activation": choice(
            "relu",
            paper("2110.04366", "section 4.6: prefix 30, bottleneck 512, scale 4"),
            ("gelu", "relu", "silu"),
            "inner function",
        ),
    },
    learning_rate=rate(1e-4, paper("2110.04366", "table 8: 1e-4 on GLUE, 5e-5 on generation"), 1e-5, 1e-2),
    attach="advisor.assembly.adapters.hybrid:attach_mam",
    prompt="cache",
    bases=QUANTISED,
    checkpointing=False,
    inference_overhead="a prefix in the cache and a small branch a layer",
    serving=ONE_AT_A_TIME,
    unrolls=False,
    identity_at_start=False,
    evidence_names=("mam_adapter", "mam"),
    failure_modes=(
        "does not work under gradient checkpointing",
        "fails within 3 epochs at some rates (github:xw-yao/peft_comparison)",
    ),
    forgetting=NOT_STUDIED,
)
