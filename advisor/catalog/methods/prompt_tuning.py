"""Prompt tuning: trained embeddings stand before the input."""

from advisor.catalog.methods.builders import (
    MIXED,
    NOT_STUDIED,
    QUANTISED,
    choice,
    keywords,
    library,
    number,
    paper,
    rate,
)
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="prompt-tuning",
    title="prompt tuning",
    says="a few trained embeddings before the input; nothing else changes",
    family="additive",
    subfamily="soft prompt",
    paper=paper("2104.08691"),
    year=2021,
    options={
        "virtual_tokens": number(
            100, paper("2104.08691", "section 3.2: 100; gains small beyond 20"), 1, 500, "length", True
        ),
        "start_from": choice(
            "SAMPLE_VOCAB",
            library("prompt_tuning/config.py, prompt_tuning_init (public run: 0.343 against 0.234)"),
            ("RANDOM", "SAMPLE_VOCAB"),
            "first value of the embeddings",
        ),
    },
    learning_rate=rate(
        1e-2, paper("2104.08691", "0.3 with Adafactor; 1e-3 to 1e-2 with AdamW in public runs"), 1e-3, 3e-1
    ),
    peft_type="PROMPT_TUNING",
    prompt="input",
    peft_options=keywords({"virtual_tokens": "num_virtual_tokens", "start_from": "prompt_tuning_init"}),
    bases=QUANTISED,
    inference_overhead="the prompt's tokens in every input and in its key-value cache",
    serving=MIXED,
    identity_at_start=False,
    core=True,
    evidence_names=("prompt_tuning", "prompt_tuning (prefix-embedding)"),
    failure_modes=(
        "loses badly below 1,000 samples: 37.6 against LoRA's 63.8 on MNLI at 100 (GPT-3)",
        "at LoRA's rate it does not learn: 0.057 at 1e-4, 0.234 at 1e-3 on GSM8K",
        "takes its length from the context window",
    ),
    forgetting=NOT_STUDIED + "; the base is untouched without the prompt",
)
