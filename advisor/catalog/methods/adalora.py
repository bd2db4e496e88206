"""AdaLoRA: LoRA as a singular value decomposition whose ranks are pruned while training."""

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    ONE_AT_A_TIME,
    QUANTISED,
    alpha,
    dropout,
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
    name="adalora",
    fewest_layers=6,
    title="AdaLoRA",
    says="starts with a higher rank and prunes the singular values that matter least, layer by layer",
    family="reparameterised",
    subfamily="low-rank, adaptive rank",
    paper=paper("2303.10512"),
    year=2023,
    options={
        "target_rank": rank(8, library("adalora/config.py, target_r"), says="mean rank at the end"),
        "initial_rank": rank(12, library("adalora/config.py, init_r"), says="rank at the start"),
        "alpha": alpha(16, paper("2303.10512", "released settings")),
        "dropout": dropout(0.0, library("lora/config.py, lora_dropout")),
        "total_steps": number(1000, paper("2303.10512", "table 8: per task"), 1, 10**6, "optimizer steps in all", True),
        "warm_steps": number(
            200, library("adalora/config.py, tinit (public run: 200)"), 0, 10**5, "steps before pruning"
        ),
        "final_steps": number(
            200, library("adalora/config.py, tfinal (public run: 500)"), 0, 10**5, "steps after pruning"
        ),
        "prune_every": number(1, library("adalora/config.py, deltaT"), 1, 1000, "steps between prunings"),
        "target_modules": targets(),
    },
    learning_rate=rate(5e-4, paper("2303.10512", "table 8: 5e-4 to 1.2e-3 on GLUE"), 5e-5, 5e-3),
    peft_type="ADALORA",
    peft_options=keywords(
        {
            "target_rank": "target_r",
            "initial_rank": "init_r",
            "alpha": "lora_alpha",
            "dropout": "lora_dropout",
            "total_steps": "total_step",
            "warm_steps": "tinit",
            "final_steps": "tfinal",
            "prune_every": "deltaT",
        }
    ),
    bases=QUANTISED,
    mergeable=True,
    inference_overhead="none once merged; peft does not merge into an 8- or 4-bit base",
    serving=ONE_AT_A_TIME,
    unrolls=True,
    core=True,
    evidence_names=("adalora",),
    failure_modes=(
        "the trainer must call update_and_allocate after every step, or ranks never shrink",
        "the schedule is set in steps: wrong total_steps prunes too early or not at all",
        "an importance score per parameter is kept and updated: more memory and time than its rank suggests",
        "one trainable adapter per model",
    ),
    forgetting=NOT_STUDIED + "; 0.022 in peft's comparison (target rank 32), below LoRA's 0.050, at lower accuracy",
)
