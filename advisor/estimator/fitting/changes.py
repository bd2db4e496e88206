"""One recipe that does not fit: the smallest changes of it that do, each with what it costs.

A recipe that was asked for may be split into smaller micro-batches; the smallest of a method has only checkpointing and
optimizers with less state left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
    recipe: Recipe


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


def less_state_that_fits(
    candidate: Candidate, optimizers: Sequence[str], priced: Callable[[Recipe], Candidate]
) -> FittingChange | None:
    """Checkpointing, then each optimizer, as far as it takes to fit; None where all of it does not.

    An optimizer is tried only where its state is what is too much.

    Args:
        optimizers: names as transformers has them, each with less state on the device than the one before.
        priced: the estimator; a BadRequest is of a change that the recipe cannot take.
    """
    from advisor.catalog.methods import find_method

    first, best = candidate.recipe, candidate
    changes: list[dict[str, Any]] = []
    if find_method(first.method).checkpointing and not first.gradient_checkpointing:
        changes.append({"gradient_checkpointing": True})
    changes.extend({"optimizer": name} for name in optimizers)
    for fields in changes:
        short = best.memory.peak_device.mid - best.limit_bytes
        if "optimizer" in fields and best.memory.breakdown.get("optimizer state", 0) < short:
            continue
        try:
            tried = priced(_with(best.recipe, fields))
        except BadRequest:
            continue
        if tried.memory.peak_device.mid >= best.memory.peak_device.mid:
            continue
        best = tried
        if best.fits:
            return _change(first, best)
    return None


def _change(before: Recipe, after: Candidate) -> FittingChange:
    options = _options(before, after.recipe)
    return FittingChange(options, after.memory.peak_device.mid, after.time.step.mid, after.recipe)


def _as_it_is(candidate: Candidate, recipe: Recipe, hardware: Hardware, spec: ModelSpec) -> Iterator[FittingChange]:
    """The recipe with its own micro-batch, where that fits."""
    from advisor.catalog.methods import check_recipe

    try:
        check_recipe(spec, recipe, candidate.workload)
        tried = price(candidate.workload, recipe, hardware, spec)
    except BadRequest:
        return
    if tried.fits:
        yield _change(candidate.recipe, tried)


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
    if after.optimizer != before.optimizer:
        typed.append(f"--optimizer {after.optimizer}")
    return " ".join(typed)
