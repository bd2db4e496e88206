"""Full fine-tuning whose optimizer state lives in a low-rank subspace of the gradient."""

from advisor.catalog.methods.builders import NOT_STUDIED, number, paper, rank, rate
from advisor.catalog.methods.method import Method, MethodSource

METHOD = Method(
    name="galore",
    title="GaLore",
    says="full fine-tuning whose optimizer state lives in a low-rank subspace of the gradient",
    family="full",
    subfamily="gradient projection (optimizer)",
    paper=paper("2403.03507"),
    year=2024,
    options={
        "rank": rank(128, paper("2403.03507", "section 5: 128 to 1024"), 4, 2048, "rank of the subspace"),
        "refresh_every": number(
            200, paper("2403.03507", "section 4: T = 200"), 1, 2000, "steps between new subspaces", True
        ),
        "scale": number(0.25, paper("2403.03507", "section 5: 0.25"), 0.05, 4, "scale of the projected step", True),
    },
    learning_rate=rate(
        1e-5,
        MethodSource(address="https://github.com/hiyouga/LLaMA-Factory", where="examples/extras/galore: 1e-5"),
        1e-6,
        1e-3,
    ),
    attach="advisor.assembly.adapters.selective:attach_full",
    trains_in_base_dtype=True,
    optimizer="galore",
    mergeable=True,
    inference_overhead="none",
    serving="one copy of the whole model per task",
    checkpoint="the whole model",
    evidence_names=("galore", "full_ft+galore"),
    failure_modes=(
        "an exact SVD of every gradient at each refresh: a pause of minutes on large models",
        "gradients are still full size",
    ),
    forgetting=NOT_STUDIED,
)
