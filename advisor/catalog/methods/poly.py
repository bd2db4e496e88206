"""A routed mixture of LoRA skills, one mix a task."""

from advisor.catalog.methods.builders import NOT_STUDIED, SWITCHED, keywords, paper, rate
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="poly",
    title="Poly",
    says="a routed mixture of LoRA skills, one mix a task",
    family="hybrid",
    subfamily="mixture of LoRA skills (Polytropon)",
    paper=paper("2202.13914"),
    year=2022,
    options={},
    learning_rate=rate(1e-3, paper("2202.13914"), 1e-4, 1e-2),
    peft_type="POLY",
    peft_options=keywords(),
    cannot="it needs a task id with every sample, and a workload has one task; nearest legal choice: lora",
    inference_overhead="as unmerged LoRA",
    serving=SWITCHED,
    evidence_names=("poly",),
    failure_modes=(),
    forgetting=NOT_STUDIED,
)
