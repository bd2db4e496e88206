"""Bottleneck adapters in all but the first layers: faster training and inference."""

from advisor.catalog.methods.builders import NOT_STUDIED, ONE_AT_A_TIME, QUANTISED, choice, number, paper, rate
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="adapter-drop",
    title="AdapterDrop",
    says="bottleneck adapters in all but the first layers: faster training and inference",
    family="additive",
    subfamily="serial adapter, dropped layers",
    paper=paper("2010.11918"),
    year=2021,
    options={
        "dropped": number(
            1,
            paper("2010.11918", "five of BERT-base's twelve layers cost little"),
            0,
            100,
            "first layers left without an adapter",
        ),
        "bottleneck": number(64, paper("2005.00052", "as Pfeiffer's"), 1, 1024, "width", True),
        "activation": choice("relu", paper("2005.00052", "as Pfeiffer's"), ("gelu", "relu", "silu"), "inner function"),
    },
    learning_rate=rate(1e-3, paper("2005.00052", "as Pfeiffer's adapters"), 1e-4, 3e-3),
    attach="advisor.assembly.adapters.bottleneck:attach_adapter_drop",
    bases=QUANTISED,
    inference_overhead="two small layers in sequence per sub-layer",
    serving=ONE_AT_A_TIME,
    unrolls=False,
    evidence_names=("adapter_drop", "adapterdrop"),
    failure_modes=("dropping too many layers costs quality",),
    forgetting=NOT_STUDIED,
)
