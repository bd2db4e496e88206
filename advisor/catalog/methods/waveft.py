"""A few trained wavelet coefficients make each update."""

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
    name="waveft",
    title="WaveFT",
    says="a few trained wavelet coefficients make each update",
    family="reparameterised",
    subfamily="wavelet sparse",
    paper=paper("2505.12532"),
    year=2025,
    options={
        "coefficients": number(2592, library("waveft/config.py, n_frequency"), 10, 20000, "coefficients a layer", True),
        "scaling": number(25.0, library("waveft/config.py, scaling"), 1, 500, "scale of the update", True),
        "target_modules": targets("attention-qv", comparison("waveft/llama-3.2-3B-n_frequency-5000")),
    },
    learning_rate=rate(5e-2, comparison("waveft: 1e-4 as run; as FourierFT's, assumed"), 1e-4, 2e-1),
    peft_type="WAVEFT",
    peft_options=keywords({"coefficients": "n_frequency"}),
    bases=UNQUANTISED,
    mergeable=True,
    serving=SWITCHED,
    evidence_names=("waveft",),
    failure_modes=("a wavelet transform of a full weight a layer at every step",),
    forgetting=NOT_STUDIED,
)
