"""One method on one machine: its best recipe that fits, or the smallest that does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from advisor.catalog.library_support import check_support
from advisor.catalog.methods import find_method
from advisor.catalog.methods.method import Method
from advisor.catalog.training_precision import precision_warning
from advisor.domain.candidate import Candidate, Quality
from advisor.domain.hardware import Hardware
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.recommendation import GpuOption, Refusal
from advisor.domain.request.vocabulary import Base
from advisor.domain.stored import Value
from advisor.domain.units import gib
from advisor.domain.workload import Workload
from advisor.errors import BadRequest
from advisor.recommender.criteria import training_seconds
from advisor.recommender.recipe_space import (
    bases_to_try,
    checkpointing_to_try,
    make_recipe,
    precisions_to_try,
    said_by_base,
    smallest_micro_batch,
    weights_fit,
    with_micro_batch,
)
from advisor.recommender.recommend_request import ResolvedRequest

WORTH_RECOMPUTING: Final = 1.15
"""Checkpointing is not tried where the whole batch at once would be less than this much faster: it repeats the
forward pass, a third of a step's arithmetic for full fine-tuning and no less than a fifth for any method."""


class Costs(Protocol):
    """The estimator as the recommender needs it; tests bring their own.

    `price(thorough=False)` may leave out the allocator's fragmentation. `largest_micro_batch` answers with a
    divisor of `at_most`, or None.
    """

    def price(
        self, workload: Workload, recipe: Recipe, hardware: Hardware, spec: ModelSpec, *, thorough: bool = True
    ) -> Candidate: ...

    def largest_micro_batch(
        self, workload: Workload, recipe: Recipe, hardware: Hardware, spec: ModelSpec, at_most: int
    ) -> int | None: ...

    def quality(self, candidate: Candidate, spec: ModelSpec, samples: int | None) -> Quality: ...


@dataclass(frozen=True, slots=True)
class Estimator:
    """The real costs, imported when first asked."""

    def price(
        self, workload: Workload, recipe: Recipe, hardware: Hardware, spec: ModelSpec, *, thorough: bool = True
    ) -> Candidate:
        from advisor.estimator.estimate import price

        return price(workload, recipe, hardware, spec, thorough=thorough)

    def largest_micro_batch(
        self, workload: Workload, recipe: Recipe, hardware: Hardware, spec: ModelSpec, at_most: int
    ) -> int | None:
        from advisor.estimator.estimate import largest_micro_batch

        return largest_micro_batch(workload, recipe, hardware, spec, at_most)

    def quality(self, candidate: Candidate, spec: ModelSpec, samples: int | None) -> Quality:
        from advisor.estimator.estimate import quality_of

        counts = candidate.total_parameters, candidate.trainable_parameters
        return quality_of(candidate.workload, candidate.recipe, spec, *counts, samples)


class MethodOutcome(Value):
    """What became of a method: a candidate that fits, or a refusal with the smallest need there is.

    `smallest` is the recipe of least memory where none fits.
    """

    method: str
    candidate: Candidate | None = None
    refusal: Refusal | None = None
    smallest: Candidate | None = None


OnPriced = Callable[[MethodOutcome | GpuOption], None]
"""Told what became of each method, or in a search of each card, as soon as it is known."""


def fit(question: ResolvedRequest, name: str, costs: Costs) -> MethodOutcome:
    """The fastest recipe of a method that fits; a smaller base only where the larger ones do not."""
    method = find_method(name)
    smallest: Candidate | None = None
    illegal: dict[Base, str] = {}
    for base, precision in _ways_to_store(question, method):
        fitting: list[Candidate] = []
        tried = checkpointing_to_try(question, method)
        # where the weights alone do not fit, the step that holds least says what is missing, at half the traces
        for checkpointing in tried if weights_fit(question, base) else tried[-1:]:
            if fitting and not _worth_recomputing(question, fitting[0], costs):
                break
            recipe = make_recipe(question, method, base, checkpointing=checkpointing, precision=precision)
            try:
                check_support(question.hardware.gpu, recipe, method, question.workload.task)
                found = _largest_that_fits(question, recipe, costs)
            except BadRequest as error:
                # a base's first way of storing is the usual one: what is wrong with another tells less
                illegal.setdefault(base, str(error).replace("\n", "; "))
                continue
            if found.fits:
                fitting.append(found)
            elif smallest is None or found.memory.peak_device.mid < smallest.memory.peak_device.mid:
                smallest = found
        if fitting:
            return MethodOutcome(method=name, candidate=min(fitting, key=training_seconds))
    if smallest is not None:
        impossible: dict[Base, str] = {base: why for base, why in illegal.items() if base != smallest.recipe.base}
        return MethodOutcome(method=name, refusal=_too_large(name, smallest, impossible), smallest=smallest)
    reason = said_by_base(illegal) or "no base it can stand on is allowed"
    return MethodOutcome(method=name, refusal=Refusal(method=name, reason=reason, kind="cannot-run"))


def _ways_to_store(question: ResolvedRequest, method: Method) -> Iterator[tuple[Base, dict[str, Any]]]:
    """Bases from the largest, each in its precisions from the one that learns best."""
    for base in bases_to_try(question, method):
        for precision in precisions_to_try(question, method, base):
            yield base, precision


def _largest_that_fits(question: ResolvedRequest, recipe: Recipe, costs: Costs) -> Candidate:
    """The recipe at the largest micro-batch that fits and divides the effective batch; at the smallest if none fits."""
    effective = question.batch_of_rank
    if smallest_micro_batch(question) == effective:
        return costs.price(
            question.workload, with_micro_batch(recipe, effective, effective), question.hardware, question.spec
        )
    micro = costs.largest_micro_batch(question.workload, recipe, question.hardware, question.spec, effective)
    chosen = with_micro_batch(recipe, micro or smallest_micro_batch(question), effective)
    return costs.price(question.workload, chosen, question.hardware, question.spec)


def _worth_recomputing(question: ResolvedRequest, found: Candidate, costs: Costs) -> bool:
    """Could a larger micro-batch, which checkpointing would make room for, pay for the recomputation?"""
    effective = question.batch_of_rank
    if found.recipe.micro_batch_size >= effective:
        return False
    at_once = with_micro_batch(found.recipe, effective, effective)
    whole = costs.price(question.workload, at_once, question.hardware, question.spec, thorough=False)
    return training_seconds(found) > WORTH_RECOMPUTING * training_seconds(whole)


def _too_large(name: str, smallest: Candidate, impossible: Mapping[Base, str]) -> Refusal:
    need, limit = smallest.memory.peak_device.mid, smallest.limit_bytes
    part, size = max(smallest.memory.breakdown.items(), key=lambda item: item[1])
    return Refusal(
        method=name,
        kind="does-not-fit",
        reason=f"needs {gib(need)} of {gib(limit)}{_how(smallest)}; largest part: {part}, {gib(size)}"
        + (f"; on no other base: {said_by_base(impossible, named=True)}" if impossible else ""),
    )


def _how(candidate: Candidate) -> str:
    """What was already done to make it small."""
    recipe = candidate.recipe
    done = [f"one sample of {candidate.workload.size_in_words}"] if recipe.micro_batch_size == 1 else []
    if recipe.gradient_checkpointing:
        done.append("checkpointing")
    if recipe.base != "dtype":
        done.append(f"{recipe.base} base")
    if precision_warning(find_method(recipe.method), recipe, candidate.workload.task):
        done.append(f"weights in {recipe.dtype} alone, which loses updates")
    if recipe.optimizer != Recipe.model_fields["optimizer"].default:
        done.append(recipe.optimizer)
    return f" even with {', '.join(done)}" if done else ""
