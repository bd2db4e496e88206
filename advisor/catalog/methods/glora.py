"""Weights, biases and activations each scaled and shifted by low-rank parts."""

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    SWITCHED,
    UNQUANTISED,
    choice,
    comparison,
    keywords,
    library,
    paper,
    rank,
    rate,
    targets,
)
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="glora",
    title="GLoRA",
    says="weights, biases and activations each scaled and shifted by low-rank parts",
    family="reparameterised",
    subfamily="generalised LoRA",
    paper=paper("2306.07967"),
    year=2023,
    options={
        "rank": rank(8, library("glora/config.py, r")),
        "weight_form": choice(
            "lora",
            library("glora/config.py, config_A_B"),
            ("lora", "vector", "constant", "none"),
            "form of the weight's scale and shift",
        ),
        "feature_form": choice(
            "lora", library("glora/config.py, config_C"), ("lora", "vector", "none"), "form of the activation's part"
        ),
        "bias_form": choice(
            "constant",
            library("glora/config.py, config_D_E"),
            ("constant", "none", "vector"),
            "form of the bias's part",
        ),
        "target_modules": targets(),
    },
    learning_rate=rate(1e-4, comparison("glora/llama-3.2-3B-default"), 1e-5, 1e-2),
    peft_type="GLORA",
    peft_options=keywords({"weight_form": "config_A_B", "feature_form": "config_C", "bias_form": "config_D_E"}),
    bases=UNQUANTISED,
    mergeable=True,
    serving=SWITCHED,
    transposed=False,
    evidence_names=("glora",),
    failure_modes=("multiplies the full weight by a low-rank product at every step",),
    forgetting=NOT_STUDIED,
)
