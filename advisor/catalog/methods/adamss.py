"""Each weight's output is cut into clusters that learn small subspaces."""

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    SWITCHED,
    UNQUANTISED,
    comparison,
    keywords,
    library,
    number,
    paper,
    rank,
    rate,
    targets,
)
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="adamss",
    title="AdaMSS",
    says="each weight's output is cut into clusters that learn small subspaces",
    family="reparameterised",
    subfamily="subspace segments",
    paper=paper("https://openreview.net/forum?id=8ZdWmpYxT0"),
    year=2025,
    options={
        "rank": rank(100, library("adamss/config.py, r"), 1, 512, "directions of the input kept"),
        "subspaces": number(5, library("adamss/config.py, num_subspaces"), 1, 64, "clusters a layer"),
        "subspace_rank": number(1, library("adamss/config.py, subspace_rank"), 1, 16, "rank of each"),
        "target_modules": targets("attention-qv", comparison("adamss/llama-3.2-3B-rank32")),
    },
    learning_rate=rate(
        1e-3, comparison("adamss: 1e-4 as run; ten times more assumed for so few parameters"), 1e-4, 1e-2
    ),
    peft_type="ADAMSS",
    peft_options=keywords({"subspaces": "num_subspaces"}),
    bases=UNQUANTISED,
    mergeable=True,
    serving=SWITCHED,
    transposed=False,
    start_up="a low-rank SVD and a K-means of every target",
    evidence_names=("adamss",),
    failure_modes=(
        "many tiny operations: 5 times LoRA's time in peft's comparison (4551 s against 942 s)",
        "needs scikit-learn at the start",
    ),
    forgetting=NOT_STUDIED,
)
