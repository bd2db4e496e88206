"""A method as others published it, fitted to a training of the length that was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from advisor.catalog.methods import find_method
from advisor.catalog.methods.method import Method
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.recommendation import Recommendation, Setting
from advisor.domain.workload import Workload
from advisor.errors import UnknownName
from advisor.tuner.lengths import HIGHEST_RANK, RAISED_WARM_UP, converging_batch, converging_epochs, quickened

DEFAULT_WARM_UP: Final = 0.03


def published_settings(name: str, spec: ModelSpec, workload: Workload) -> tuple[Setting, ...]:
    """What studies and repositories set for a method; none where nobody published any."""
    from advisor.estimator.settings import recommend_settings

    try:
        return recommend_settings(
            name,
            architecture=spec.architecture,
            model_parameters=spec.parameters,
            hidden_size=spec.hidden,
            task_type=workload.task_type,
            samples=workload.samples,
        )
    except UnknownName:
        return ()


def converging(
    method: str, spec: ModelSpec, workload: Workload, epochs: float | None, batch: int | None
) -> tuple[Workload, str]:
    """The length and batch at which the method converges, as far as the user left them open."""
    if epochs is None:
        longer, note = converging_epochs(method, workload, published_settings(method, spec, workload))
        return workload.model_copy(update={"epochs": longer}), note
    if batch is None:
        smaller, note = converging_batch(method, workload)
        return workload.model_copy(update={"effective_batch_size": smaller}), note
    return workload, ""


def plain_recipe(
    name: str, spec: ModelSpec, workload: Workload, told: Recommendation | None, published: Sequence[Setting]
) -> Recipe:
    """A method as published, else its catalogue's default, quickened for a training shorter than published.

    float32 on a CPU, whose 16-bit arithmetic is slow.
    """
    method = find_method(name)
    known = {s.name: s.value for s in published if isinstance(s.value, (int, float))}
    said = known.get("learning_rate") or method.learning_rate.default
    rate, warm_up = None, float(known.get("warmup_ratio", DEFAULT_WARM_UP))
    options: dict[str, Any] = {}
    if isinstance(said, (int, float)):
        usual = _rank(method, known)
        rate, rank = quickened(name, float(said), usual, workload)
        if rank != usual:
            options["rank"] = min(rank or 1, spec.hidden or HIGHEST_RANK)
        if (rate, rank) != (said, usual):
            warm_up = max(warm_up, RAISED_WARM_UP)
    like = told.choice.recipe if told else None
    return Recipe.model_validate(
        {
            "method": name,
            "options": options,
            "learning_rate": rate,
            "warmup_ratio": warm_up,
            "micro_batch_size": like.micro_batch_size if like else min(8, workload.effective_batch_size),
            "dtype": like.dtype if like else "float32",
            "autocast": like.autocast if like else False,
            "base": method.default_base,
            "gradient_checkpointing": bool(like and like.gradient_checkpointing and method.checkpointing),
            "trainer": like.trainer if like else "hf",
        }
    )


def _rank(method: Method, known: Mapping[str, float]) -> int | None:
    """The rank the search would begin with, of methods whose alpha follows it."""
    if not {"rank", "alpha"} <= method.options.keys():
        return None
    rank = known.get("rank") or method.options["rank"].default
    return int(rank) if isinstance(rank, (int, float)) and rank >= 1 else None
