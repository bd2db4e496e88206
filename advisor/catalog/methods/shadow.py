"""A small trained network runs beside the frozen layers and corrects them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    ONE_AT_A_TIME,
    UNQUANTISED,
    dropout,
    keywords,
    library,
    number,
    rank,
    rate,
)
from advisor.catalog.methods.method import Method, Option

if TYPE_CHECKING:
    from advisor.domain.model import ModelSpec
    from advisor.domain.recipe import Recipe
    from advisor.domain.request.vocabulary import Task


def _refuse(spec: ModelSpec, recipe: Recipe, task: Task) -> str | None:
    if spec.task_class == "ImageTextToText":
        # peft 0.21.2, tuners/shadow: `.layers` or `.h` of the backbone itself
        return "peft looks for its layers in the model itself, and they lie in the language model inside it"
    if spec.config.get("word_embed_proj_dim"):
        return "its embeddings have a width of their own, and peft's side network takes the hidden size for it"
    if recipe.trainer != "trl":
        return None
    return "it fails inside trl's trainer, whose loss bypasses the model's output; nearest legal choice: --trainer hf"


METHOD = Method(
    name="shadow",
    fewest_layers=6,
    title="ShadowPEFT",
    says="a small trained network runs beside the frozen layers and corrects them",
    family="additive",
    subfamily="side network",
    paper=library("shadow/config.py"),
    year=2026,
    options={
        "rank": rank(8, library("shadow/config.py, r")),
        "scale": number(0.1, library("shadow/config.py, shadow_alpha"), 0.01, 1, "scale of the correction", True),
        "dropout": dropout(0.2, library("shadow/config.py, shadow_dropout")),
        "width": Option(
            None,
            library("shadow/config.py, shadow_hidden_size"),
            "width of the side network (None: peft's choice)",
            8,
            8192,
            log=True,
        ),
    },
    learning_rate=rate(2e-4, library("shadow: no setting known; LoRA's assumed"), 2e-5, 2e-3),
    peft_type="SHADOW",
    trains_in_base_dtype=True,
    peft_options=keywords({"scale": "shadow_alpha", "dropout": "shadow_dropout", "width": "shadow_hidden_size"}),
    architectures=frozenset({"decoder"}),
    tasks=frozenset({"causal-lm"}),
    bases=UNQUANTISED,
    mergeable=False,
    inference_overhead="the side network beside every layer",
    serving=ONE_AT_A_TIME,
    multi_adapter=False,
    needs_peft="0.21.0",
    refuse=_refuse,
    evidence_names=("shadow",),
    failure_modes=(
        "needs hidden states of whole sequences: not with trainers that pack without padding",
        "new and not yet studied",
    ),
    forgetting=NOT_STUDIED,
)
