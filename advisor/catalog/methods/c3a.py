"""The update is a block-circular convolution, computed by Fourier transforms."""

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    SWITCHED,
    UNQUANTISED,
    comparison,
    dividing,
    keywords,
    paper,
    rate,
    targets,
)
from advisor.catalog.methods.method import Method, Option

METHOD = Method(
    name="c3a",
    title="C3A",
    says="the update is a block-circular convolution, computed by Fourier transforms",
    family="reparameterised",
    subfamily="circular convolution",
    paper=paper("2407.19342"),
    year=2024,
    options={
        "block_size": Option(
            None,
            paper("2407.19342", "a divisor of the widths; 128 to 768"),
            "width of a block (None: largest divisor of the widths up to 256)",
            1,
            4096,
            log=True,
        ),
        "target_modules": targets(),
    },
    learning_rate=rate(3e-1, comparison("c3a/llama-3.2-3B-default"), 1e-2, 1e0),
    peft_type="C3A",
    peft_options=dividing("block_size", 256, keywords()),
    bases=UNQUANTISED,
    mergeable=True,
    identity_at_start=False,
    serving=SWITCHED,
    transposed=False,
    evidence_names=("c3a",),
    failure_modes=(
        "block_size must divide every width adapted",
        "needs 1,000 times LoRA's rate",
        "runs its transforms in float32",
    ),
    forgetting=NOT_STUDIED,
)
