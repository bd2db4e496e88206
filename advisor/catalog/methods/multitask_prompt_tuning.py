"""One prompt for many tasks, times a small factor for each."""

from advisor.catalog.methods.builders import NOT_STUDIED, SWITCHED, keywords, paper, rate
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="multitask-prompt-tuning",
    title="multitask prompt tuning",
    says="one prompt for many tasks, times a small factor for each",
    family="additive",
    subfamily="soft prompt, many tasks",
    paper=paper("2303.02861"),
    year=2023,
    options={},
    learning_rate=rate(3e-1, paper("2303.02861", "0.3 with Adafactor"), 1e-3, 1e0),
    peft_type="MULTITASK_PROMPT_TUNING",
    prompt="input",
    peft_options=keywords(),
    cannot="it needs a task id with every sample, and a workload has one task; nearest legal choice: prompt-tuning",
    architectures=frozenset({"decoder", "encoder", "encoder-decoder"}),
    inference_overhead="the prompt's tokens in every input",
    serving=SWITCHED,
    evidence_names=("multitask_prompt_tuning",),
    failure_modes=(),
    forgetting=NOT_STUDIED,
)
