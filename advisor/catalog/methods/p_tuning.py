"""P-tuning: a soft prompt that a small network produces."""

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    ONE_AT_A_TIME,
    QUANTISED,
    choice,
    keywords,
    library,
    number,
    paper,
    rate,
)
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="p-tuning",
    title="P-tuning",
    says="a soft prompt produced by a small trained network",
    family="additive",
    subfamily="soft prompt",
    paper=paper("2103.10385"),
    year=2021,
    options={
        "virtual_tokens": number(20, library("p_tuning/config.py (public run: 20)"), 1, 500, "length", True),
        "encoder_hidden_size": number(
            128, library("p_tuning/config.py; peft's examples: 128"), 16, 8192, "its width", True
        ),
        "encoder": choice(
            "MLP", library("p_tuning/config.py, encoder_reparameterization_type"), ("MLP", "LSTM"), "network"
        ),
    },
    learning_rate=rate(1e-3, library("examples/sequence_classification/P_Tuning: 1e-3"), 1e-4, 1e-1),
    peft_type="P_TUNING",
    prompt="input",
    peft_options=keywords({"virtual_tokens": "num_virtual_tokens", "encoder": "encoder_reparameterization_type"}),
    bases=QUANTISED,
    inference_overhead="the prompt's tokens in every input and in its key-value cache",
    serving=ONE_AT_A_TIME,
    identity_at_start=False,
    core=True,
    evidence_names=("p_tuning", "ptuning"),
    failure_modes=("at LoRA's rate it does not learn", "takes its length from the context window"),
    forgetting=NOT_STUDIED,
)
