"""Trains the token embeddings only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advisor.catalog.methods.builders import NOT_STUDIED, UNQUANTISED, paper, rate
from advisor.catalog.methods.method import Method

if TYPE_CHECKING:
    from advisor.domain.model import ModelSpec
    from advisor.domain.recipe import Recipe
    from advisor.domain.request.vocabulary import Task


def _refuse(spec: ModelSpec, recipe: Recipe, task: Task) -> str | None:
    if spec.task_class == "ImageClassification":
        return f"{spec.name} takes pixels and has no token embeddings"
    return None


METHOD = Method(
    name="embedding-tuning",
    title="embedding tuning",
    says="trains the token embeddings only",
    family="selective",
    subfamily="embeddings",
    paper=paper("2104.08691", "what prompt tuning restricts"),
    year=2021,
    options={},
    learning_rate=rate(1e-4, paper("2104.08691", "no setting in our evidence: assumed"), 1e-5, 1e-2),
    attach="advisor.assembly.adapters.selective:attach_embeddings",
    trains_in_base_dtype=True,
    bases=UNQUANTISED,
    refuse=_refuse,
    mergeable=True,
    inference_overhead="none",
    serving="a copy of the embeddings per task",
    checkpoint="the embeddings",
    evidence_names=("embeddings",),
    failure_modes=("full backward pass for embeddings only: saves optimizer memory, not time",),
    forgetting=NOT_STUDIED,
)
