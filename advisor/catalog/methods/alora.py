"""aLoRA: LoRA that acts only after an invocation sequence, so the prompt's cache stays valid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from advisor.catalog.methods.builders import (
    LORA_SERVED,
    NOT_STUDIED,
    REPOSITORIES,
    library,
    lora_keywords,
    lora_options,
    paper,
    rate,
)
from advisor.catalog.methods.method import Method, Option

if TYPE_CHECKING:
    from advisor.domain.model import ModelSpec
    from advisor.domain.recipe import Recipe
    from advisor.domain.request.vocabulary import Task


def _options(spec: ModelSpec, options: Mapping[str, Any]) -> dict[str, Any]:
    passed = lora_keywords()(spec, options)
    passed["alora_invocation_tokens"] = passed.pop("invocation_tokens")
    return passed


def _refuse(spec: ModelSpec, recipe: Recipe, task: Task) -> str | None:
    if spec.task_class == "ImageTextToText" and recipe.gradient_checkpointing:
        # peft 0.21.2 hooks every checkpointed layer, and takes the hooks off in its backward, which a tower that no
        # image reaches never has
        return "under gradient checkpointing peft's hooks on the idle vision tower stop its second step"
    return None


METHOD = Method(
    name="alora",
    title="activated LoRA",
    says="LoRA that acts only on tokens after an invocation sequence: the base's cache is reused",
    family="reparameterised",
    subfamily="low-rank, activated",
    paper=paper("2504.12397"),
    year=2025,
    options=lora_options(
        rank_default=32,
        rank_source=paper("2504.12397", "rank 32: higher than LoRA's"),
        invocation_tokens=Option(
            [2], library("lora/config.py, alora_invocation_tokens"), "token ids after which it acts"
        ),
    ),
    learning_rate=rate(2e-4, REPOSITORIES, 2e-5, 2e-3, "as LoRA's: no setting of its own known"),
    peft_type="LORA",
    peft_options=_options,
    adapter_marks={"alora_invocation_tokens": True},
    architectures=frozenset({"decoder"}),
    tasks=frozenset({"causal-lm"}),
    # on int8 peft 0.21.2 adds in place to a view that bitsandbytes' product made, which autograd refuses
    bases=frozenset({"dtype", "nf4"}),
    refuse=_refuse,
    mergeable=False,
    inference_overhead="as unmerged LoRA, but the prompt's cache is shared with the base",
    serving=LORA_SERVED,
    failure_modes=(
        "the invocation tokens must stand in every training sample",
        "cannot be merged",
        "not the ALoRA that allocates ranks (arXiv:2403.16187), which studies call alora",
    ),
    forgetting=NOT_STUDIED,
)
