"""Full fine-tuning: every parameter of the model is trained."""

from advisor.catalog.methods.builders import REPOSITORIES, paper, rate
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="full",
    title="full fine-tuning",
    says="trains every weight: the reference for quality, and the most memory",
    family="full",
    subfamily="all parameters",
    paper=paper("1801.06146"),
    year=2018,
    options={},
    learning_rate=rate(2e-5, REPOSITORIES, 1e-6, 1e-4),
    attach="advisor.assembly.adapters.selective:attach_full",
    trains_in_base_dtype=True,
    mergeable=True,
    inference_overhead="none",
    serving="one copy of the whole model per task",
    checkpoint="the whole model",
    core=True,
    evidence_names=("full_ft", "full-finetuning", "fine-tuning", "ft"),
    failure_modes=(
        "two fp32 moments and a gradient per weight: 6 to 8 times the memory of the frozen weights",
        "unstable below a few hundred samples: 11.5 points of spread over seeds on RTE with TinyLlama",
        "a rate tuned for LoRA (10 to 100 times higher) diverges",
    ),
    forgetting="forgets most at equal gain on the target (arXiv:2405.09673)",
)
