"""Prefix tuning: trained keys and values stand before the input in every layer."""

from advisor.catalog.methods.builders import (
    ONE_AT_A_TIME,
    QUANTISED,
    comparison,
    flag,
    keywords,
    library,
    number,
    paper,
    rate,
)
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="prefix-tuning",
    title="prefix tuning",
    says="trained keys and values before the input in every layer's attention",
    family="additive",
    subfamily="soft prompt in every layer",
    paper=paper("2101.00190"),
    year=2021,
    options={
        "virtual_tokens": number(
            30, paper("2101.00190", "section 7.2: 10 for tables, 200 for summaries"), 1, 500, "length", True
        ),
        "projection": flag(
            False, library("prefix_tuning/config.py, prefix_projection"), "train through a small network"
        ),
    },
    learning_rate=rate(5e-3, comparison("prefixtuning/llama-3.2-3B-tokens50-init_prefix-lr_0.005"), 1e-4, 5e-2),
    peft_type="PREFIX_TUNING",
    prompt="cache",
    peft_options=keywords({"virtual_tokens": "num_virtual_tokens", "projection": "prefix_projection"}),
    bases=QUANTISED,
    checkpointing=False,
    inference_overhead="the prefix in every layer's key-value cache",
    serving=ONE_AT_A_TIME,
    unrolls=False,
    identity_at_start=False,
    core=True,
    evidence_names=("prefix_tuning", "prefixtuning", "prefix_tuning (prefix-layer)"),
    failure_modes=(
        "forgets most of all in peft's comparison: 0.20 to 1.79 against LoRA's 0.05",
        "does not work under gradient checkpointing",
        "fails within 3 epochs at rates that suit LoRA",
    ),
    forgetting="0.20 to 1.79 in peft's comparison against LoRA's 0.05: a random prefix disturbs every layer",
)
