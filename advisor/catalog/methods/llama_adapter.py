"""Gated prompts join the attention of the top layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from advisor.catalog.methods.builders import NOT_STUDIED, QUANTISED, SWITCHED, comparison, number, paper, rate
from advisor.catalog.methods.method import Method, Option

if TYPE_CHECKING:
    from advisor.domain.model import ModelSpec
    from advisor.domain.recipe import Recipe
    from advisor.domain.request.vocabulary import Task

_KNOWN = ("llama", "mistral", "gpt2")


def _options(spec: ModelSpec, options: Mapping[str, Any]) -> dict[str, Any]:
    top = options["top_layers"] or max(1, (spec.layers or 3) - 2)
    return {"adapter_len": options["prompt_length"], "adapter_layers": top}


def _refuse(spec: ModelSpec, recipe: Recipe, task: Task) -> str | None:
    if spec.model_type in _KNOWN:
        return None
    return f"peft has it for {', '.join(_KNOWN)} only; nearest legal choice: prefix-tuning"


METHOD = Method(
    name="llama-adapter",
    title="LLaMA-Adapter",
    says="gated prompts join the attention of the top layers",
    family="additive",
    subfamily="gated prompts in top layers",
    paper=paper("2303.16199"),
    year=2023,
    options={
        "prompt_length": number(10, paper("2303.16199", "section 4: 10"), 1, 200, "prompt tokens a layer", True),
        "top_layers": Option(
            None, paper("2303.16199", "section 4: 30 of 32"), "layers from the top (None: all but two)", 1, 200
        ),
    },
    learning_rate=rate(5e-3, comparison("adaptionprompt/llama-3.2-3B-lr_5e-3; 9e-3 as published"), 5e-4, 5e-2),
    peft_type="ADAPTION_PROMPT",
    trains_in_base_dtype=True,
    peft_options=_options,
    refuse=_refuse,
    architectures=frozenset({"decoder"}),
    tasks=frozenset({"causal-lm"}),
    bases=QUANTISED,
    inference_overhead="a second, short attention in every adapted layer",
    serving=SWITCHED,
    evidence_names=("llama_adapter", "adapter_prompt_llama", "adaptionprompt"),
    failure_modes=("only for Llama- and Mistral-like models and GPT-2 in peft",),
    forgetting=NOT_STUDIED,
)
