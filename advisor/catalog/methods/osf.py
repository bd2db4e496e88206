"""Trains each weight outside the subspace of its largest singular values."""

from advisor.catalog.methods.builders import SWITCHED, UNQUANTISED, comparison, keywords, library, paper, rate, targets
from advisor.catalog.methods.method import Method, Option

METHOD = Method(
    name="osf",
    title="OSF",
    says="trains each weight outside the subspace of its largest singular values",
    family="selective",
    subfamily="orthogonal-subspace full update",
    paper=paper("2504.07097"),
    year=2025,
    options={
        "kept_rank": Option(
            None,
            library("osf/config.py, effective_rank"),
            "directions of each weight kept frozen (None: half of the smaller width)",
            1,
            4096,
            log=True,
        ),
        "target_modules": targets(),
    },
    learning_rate=rate(5e-5, comparison("osf/llama-3.2-3B-rank128"), 5e-6, 5e-4),
    peft_type="OSF",
    peft_options=keywords({"kept_rank": "effective_rank"}),
    bases=UNQUANTISED,
    mergeable=True,
    serving=SWITCHED,
    transposed=False,
    start_up="an exact SVD of every target, in float32",
    evidence_names=("osf",),
    failure_modes=(
        "trains close to full fine-tuning's parameters: little memory is saved",
        "slower than full fine-tuning in peft's comparison (2653 s against 2147 s)",
    ),
    forgetting="made against forgetting in continual learning (arXiv:2504.07097)",
)
