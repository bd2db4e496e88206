"""A few trained Fourier coefficients make each update."""

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    SWITCHED,
    UNQUANTISED,
    comparison,
    keywords,
    library,
    number,
    paper,
    rate,
    targets,
)
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="fourierft",
    title="FourierFT",
    says="a few trained Fourier coefficients make each update",
    family="reparameterised",
    subfamily="spectral sparse",
    paper=paper("2405.03003"),
    year=2024,
    options={
        "frequencies": number(
            1000, library("fourierft/config.py, n_frequency"), 10, 20000, "coefficients a layer", True
        ),
        "scaling": number(
            300.0, paper("2405.03003", "table 9: 300 on LLaMA, 150 on RoBERTa"), 10, 1000, "scale of the update", True
        ),
        "target_modules": targets("attention-qv", comparison("fourierft/llama-3.2-3B-default")),
    },
    learning_rate=rate(5e-2, paper("2405.03003", "tables 9-11: 1e-2 to 1.2e-1"), 1e-3, 2e-1),
    peft_type="FOURIERFT",
    peft_options=keywords({"frequencies": "n_frequency"}),
    bases=UNQUANTISED,
    mergeable=True,
    identity_at_start=False,
    serving=SWITCHED,
    evidence_names=("fourierft",),
    failure_modes=(
        "an inverse Fourier transform of a full weight a layer at every step",
        "learns next to nothing at LoRA's rate",
    ),
    forgetting=NOT_STUDIED,
)
