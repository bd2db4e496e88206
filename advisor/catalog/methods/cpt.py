"""A prompt that starts as text and stays near it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from advisor.catalog.methods.builders import NOT_STUDIED, QUANTISED, SWITCHED, library, number, paper, rate
from advisor.catalog.methods.method import Method, Option

if TYPE_CHECKING:
    from advisor.domain.model import ModelSpec
    from advisor.domain.recipe import Recipe
    from advisor.domain.request.vocabulary import Task


def _options(spec: ModelSpec, options: Mapping[str, Any]) -> dict[str, Any]:
    tokens = list(options["tokens"])
    # four kinds of token a round: the template and content of an input, then of its label
    kinds = [1 + i % 4 for i in range(len(tokens))]
    return {
        "cpt_token_ids": tokens,
        "cpt_mask": [1] * len(tokens),
        "cpt_tokens_type_mask": kinds,
        "opt_weighted_loss_type": "none",
        "opt_projection_epsilon": options["reach"],
        "opt_projection_format_epsilon": options["reach"],
    }


def _refuse(spec: ModelSpec, recipe: Recipe, task: Task) -> str | None:
    if recipe.trainer != "trl":
        return None
    return "its loss reads the logits, which trl's trainer never forms; nearest legal choice: --trainer hf"


METHOD = Method(
    name="cpt",
    title="context-aware prompt tuning",
    says="a prompt that starts as text and stays near it",
    family="additive",
    subfamily="soft prompt from text",
    paper=paper("2410.17222"),
    year=2024,
    options={
        "tokens": Option(
            [1, 1, 1, 1, 1, 1, 1, 1], library("cpt/config.py, cpt_token_ids"), "token ids of the text it starts from"
        ),
        "reach": number(
            0.1, library("cpt/config.py, opt_projection_epsilon"), 0.01, 10, "how far it may move from its text", True
        ),
    },
    learning_rate=rate(1e-2, paper("2104.08691", "as prompt tuning's; no setting of its own known"), 1e-3, 1e-1),
    peft_type="CPT",
    prompt="input",
    peft_options=_options,
    refuse=_refuse,
    architectures=frozenset({"decoder"}),
    tasks=frozenset({"causal-lm"}),
    bases=QUANTISED,
    inference_overhead="the prompt's tokens in every input and in its key-value cache",
    serving=SWITCHED,
    identity_at_start=False,
    evidence_names=("cpt",),
    failure_modes=("its loss reads the logits: not with trainers that never form them",),
    forgetting=NOT_STUDIED,
)
