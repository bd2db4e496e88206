"""aLoRA: LoRA that acts only after an invocation sequence, so the prompt's cache stays valid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from advisor.catalog.methods.builders import (
    LORA_SERVED,
    NOT_STUDIED,
    QUANTISED,
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


def _options(spec: ModelSpec, options: Mapping[str, Any]) -> dict[str, Any]:
    passed = lora_keywords()(spec, options)
    passed["alora_invocation_tokens"] = passed.pop("invocation_tokens")
    return passed


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
    bases=QUANTISED,
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
