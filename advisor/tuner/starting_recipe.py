"""A method as others published it, fitted to a training of the length that was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from advisor.catalog.methods import find_method
from advisor.catalog.training_precision import usual_precision
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.recommendation import Recommendation, Setting
from advisor.domain.request.vocabulary import Task
from advisor.domain.workload import Workload
from advisor.literature.hyperparameters.suggest import settings_published_for
from advisor.literature.hyperparameters.training_length import (
    converging_batch,
    converging_epochs,
    fields_for_short_training,
    scaled_rank,
    training_fields,
    with_rank,
)

PLAIN_SCHEDULE: Final = "linear"
"""Where nobody published one for such a training: the Trainer's own default."""


def converging(
    method: str, spec: ModelSpec, workload: Workload, epochs: float | None, batch: int | None
) -> tuple[Workload, str]:
    """The length and batch at which the method converges, as far as the user left them open."""
    if epochs is None:
        longer, note = converging_epochs(method, workload, settings_published_for(method, spec, workload))
        return workload.model_copy(update={"epochs": longer}), note
    if batch is None:
        smaller, note = converging_batch(method, workload)
        return workload.model_copy(update={"effective_batch_size": smaller}), note
    return workload, ""


def plain_recipe(
    name: str, spec: ModelSpec, workload: Workload, told: Recommendation | None, published: Sequence[Setting]
) -> Recipe:
    """A method as published, else its catalogue's default, quickened for a training shorter than published.

    In the precision of the recommendation, with float32 weights where 16 bits would lose what is trained; else in
    float32, which every processor computes and no loss underflows in.
    """
    method = find_method(name)
    known = {s.name: s for s in published}
    rank = known["rank"].value if "rank" in known else None
    options = with_rank(method, {}, rank) if isinstance(rank, int) and scaled_rank(method, {}) else {}
    fields = {"schedule": PLAIN_SCHEDULE, **training_fields(method, known)}
    fields, options = fields_for_short_training(method, fields, options, workload, spec.hidden)
    like = told.choice.recipe if told else None
    half, rate = like.compute_dtype if like else "float32", fields.get("learning_rate")
    return Recipe.model_validate(
        {
            "method": name,
            "options": options,
            "micro_batch_size": like.micro_batch_size if like else min(8, workload.effective_batch_size),
            **usual_precision(method, method.default_base, workload.task, half=half, rate=rate),
            "base": method.default_base,
            "gradient_checkpointing": bool(like and like.gradient_checkpointing and method.checkpointing),
            "trainer": like.trainer if like else "hf",
            **fields,
        }
    )


def in_precision(recipe: Recipe, task: Task, asked: Mapping[str, Any]) -> Recipe:
    """The recipe with what the user left open of its precision taken as usual for the method.

    Args:
        asked: the user's own of `PRECISION`; without the first two of them the recipe stays as it is.
    """
    dtype, mixed = asked.get("dtype"), asked.get("mixed_precision")
    if dtype is None and mixed is None:
        return recipe
    method, half = find_method(recipe.method), recipe.compute_dtype
    usual = usual_precision(method, recipe.base, task, half=half, rate=recipe.learning_rate, dtype=dtype, mixed=mixed)
    return recipe.model_copy(update=usual)
