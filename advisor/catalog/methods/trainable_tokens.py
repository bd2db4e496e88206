"""Trains the embeddings of chosen tokens only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from advisor.catalog.methods.builders import NOT_STUDIED, QUANTISED, SWITCHED, comparison, library, rate
from advisor.catalog.methods.method import Method, Option

if TYPE_CHECKING:
    from advisor.domain.model import ModelSpec


def _options(spec: ModelSpec, options: Mapping[str, Any]) -> dict[str, Any]:
    return {"token_indices": list(options["tokens"])}


METHOD = Method(
    name="trainable-tokens",
    title="trainable tokens",
    says="trains the embeddings of chosen tokens only",
    family="selective",
    subfamily="chosen embedding rows",
    paper=library("trainable_tokens/config.py"),
    year=2025,
    options={
        "tokens": Option(
            [0, 1],
            library("trainable_tokens/config.py, token_indices"),
            "ids of the tokens whose embeddings are trained",
        )
    },
    learning_rate=rate(2e-1, comparison("trainable_tokens/llama-3.2-3B-sos+eos"), 2e-3, 1e0),
    peft_type="TRAINABLE_TOKENS",
    peft_options=_options,
    # peft's config has no modules_to_save, so a new classification head would stay as it was drawn
    tasks=frozenset({"causal-lm", "seq2seq"}),
    bases=QUANTISED,
    mergeable=True,
    serving=SWITCHED,
    evidence_names=("trainable_tokens",),
    failure_modes=("for new tokens, together with another method; alone it learns next to nothing",),
    forgetting=NOT_STUDIED,
)
