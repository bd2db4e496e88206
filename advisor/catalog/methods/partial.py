"""Trains the last blocks and the head, the rest frozen."""

from advisor.catalog.methods.builders import NOT_STUDIED, UNQUANTISED, number, paper, rate
from advisor.catalog.methods.method import Method, MethodSource

METHOD = Method(
    name="partial",
    fewest_layers=6,
    title="partial fine-tuning",
    says="trains the last blocks and the head, the rest frozen",
    family="selective",
    subfamily="last layers (freeze tuning)",
    paper=paper("2106.09685", "table 3: top-2 layers as baseline"),
    year=2021,
    options={
        "blocks": number(
            2,
            MethodSource(address="https://github.com/hiyouga/LLaMA-Factory", where="freeze_trainable_layers"),
            1,
            200,
            "blocks trained, from the end",
            True,
        )
    },
    learning_rate=rate(
        1e-4,
        MethodSource(address="https://github.com/hiyouga/LLaMA-Factory", where="examples/extras/llama_pro: 1e-4"),
        1e-5,
        1e-3,
    ),
    attach="advisor.assembly.adapters.selective:attach_partial",
    trains_in_base_dtype=True,
    bases=UNQUANTISED,
    mergeable=True,
    inference_overhead="none",
    serving="a copy of the trained blocks per task",
    checkpoint="the trained blocks",
    evidence_names=("top2_layers", "freeze", "partial"),
    failure_modes=("backward stops at the first trained block: cheap, but early layers cannot adapt",),
    forgetting=NOT_STUDIED,
)
