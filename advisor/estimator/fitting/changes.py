"""One recipe that does not fit: the smallest change of it that does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from advisor.domain.candidate import Candidate
from advisor.domain.hardware import Hardware
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.errors import BadRequest
from advisor.estimator.estimate import largest_micro_batch, price


@dataclass(frozen=True, slots=True)
class FittingChange:
    """Options of `advisor estimate` under which a recipe fits: its peak on the device in bytes, a step in seconds."""

    options: str
    peak_device_bytes: float
    step_seconds: float


def changes_that_fit(candidate: Candidate, hardware: Hardware, spec: ModelSpec) -> tuple[FittingChange, ...]:
    """Checkpointing, and smaller micro-batches of the same effective batch: each where it alone does, else both."""
    recipe = candidate.recipe
    kept: dict[str, Any] = {"gradient_checkpointing": True}
    found = list(_tried(candidate, recipe, hardware, spec))
    if not recipe.gradient_checkpointing:
        checkpointed = _with(recipe, kept)
        found.extend(_as_it_is(candidate, checkpointed, hardware, spec))
        if not found:
            found.extend(_tried(candidate, checkpointed, hardware, spec))
    return tuple(found)


def _as_it_is(candidate: Candidate, recipe: Recipe, hardware: Hardware, spec: ModelSpec) -> Iterator[FittingChange]:
    """The recipe with its own micro-batch, where that fits."""
    from advisor.catalog.methods import check_recipe

    try:
        check_recipe(spec, recipe, candidate.workload)
        tried = price(candidate.workload, recipe, hardware, spec)
    except BadRequest:
        return
    if tried.fits:
        yield FittingChange(_options(candidate.recipe, recipe), tried.memory.peak_device.mid, tried.time.step.mid)


def _tried(candidate: Candidate, recipe: Recipe, hardware: Hardware, spec: ModelSpec) -> Iterator[FittingChange]:
    """The recipe in the largest micro-batch that fits and divides its effective batch."""
    together = recipe.micro_batch_size * recipe.gradient_accumulation
    try:
        size = largest_micro_batch(candidate.workload, recipe, hardware, spec, together)
    except BadRequest:
        return
    if size is not None and size < recipe.micro_batch_size:
        split = _with(recipe, {"micro_batch_size": size, "gradient_accumulation": together // size})
        yield from _as_it_is(candidate, split, hardware, spec)


def _with(recipe: Recipe, fields: dict[str, Any]) -> Recipe:
    return recipe.model_copy(update=fields)


def _options(before: Recipe, after: Recipe) -> str:
    typed: list[str] = []
    if after.gradient_checkpointing and not before.gradient_checkpointing:
        typed.append("--gradient-checkpointing")
    if after.micro_batch_size != before.micro_batch_size:
        typed.append(f"--batch-size {after.micro_batch_size} --gradient-accumulation {after.gradient_accumulation}")
    return " ".join(typed)
