"""One recipe that does not fit: the smallest changes of it that do, each with what it costs, or how near they come.

What the trace at hand can say comes first: whether the weights and what is kept for them leave any room, then smaller
micro-batches of the same effective batch, then shorter samples. Checkpointing needs a trace of its own, which is begun
only while the search is young. The smallest recipe of a method has only checkpointing and optimizers with less state
left. An optimizer with less state, which needs a trace too, is tried where its state alone could be what is too much.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from advisor.catalog.objectives import find_objective
from advisor.catalog.optimizer_names import updates_in_backward
from advisor.domain.candidate import Candidate
from advisor.domain.hardware import Hardware
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.units import gib
from advisor.domain.workload import Workload
from advisor.errors import BadRequest
from advisor.tracer.timelines import known_trace

NEW_TRACE_SECONDS: Final = 10.0
"""Of a search: after that no step is traced that was not traced before."""
SHORTEST: Final = 64
"""Tokens to which samples are cut at most."""
KEPT: Final = ("base weights", "adapter", "gradients", "optimizer state", "workspace", "context")
"""Parts that no smaller batch, shorter sample or checkpointing makes smaller."""


LESS_STATE: Final = {
    "adamw_8bit": "",
    "paged_adamw_8bit": ", more where its state moves to the host",
    "adafactor": ", at a learning rate of its own, and no study bears on its quality",
    "lomo": ", as SGD, without clipping, at a learning rate of its own, and no study bears on its quality",
}
"""Optimizers to try, each with less on the device than the one before, and what each costs besides time."""


Price = Callable[..., Candidate]
"""`advisor.estimator.estimate.price`, handed down, since that file lies above."""
LargestMicroBatch = Callable[[Workload, Recipe, Hardware, ModelSpec, int], int | None]


@dataclass(frozen=True, slots=True)
class FittingChange:
    """Options of `advisor estimate` under which a recipe fits: its peak on the device in bytes, a step in seconds."""

    options: str
    peak_device_bytes: float
    step_seconds: float
    recipe: Recipe


def in_words(
    candidate: Candidate, hardware: Hardware, spec: ModelSpec, price: Price, largest: LargestMicroBatch
) -> tuple[list[str], str]:
    """The changes that make a candidate fit, a sentence each, and one of what does not or was not tried."""
    memory = candidate.memory
    kept = sum(memory.breakdown.get(name, 0) for name in KEPT)
    bound = max(kept, memory.allocated_after_step.mid + memory.breakdown.get("context", 0))
    tries = _Tries(candidate, hardware, spec, price, largest)
    notes: list[str] = []
    if bound > candidate.limit_bytes:
        parts = [name for name in KEPT if candidate.memory.breakdown.get(name, 0) > bound / 20]
        told = f"{', '.join(parts)} and smaller parts that stay take {gib(bound)} of {gib(candidate.limit_bytes)}"
        notes.append(f"no smaller batch, shorter sample or checkpointing will do: {told}")
    else:
        tries.run()
    tries.with_less_state()
    usual = candidate.time.step.mid
    said = [
        f"{change.options}: {gib(change.peak_device_bytes)}, each step {change.step_seconds / usual:.2g} times as long"
        + LESS_STATE.get(change.recipe.optimizer, "")
        + _other_batch(candidate.recipe, change.recipe)
        for change in tries.found
    ]
    if not tries.found and tries.missed:
        (what, peak), *others = sorted(tries.missed, key=lambda one: one[1])
        short = gib(peak - candidate.limit_bytes)
        notes.append(f"none found; nearest: {what}, {gib(peak)}, {short} too much")
        notes.extend(f"{what}: {gib(peak)}" for what, peak in others)
    if tries.untraced:
        which = ", ".join(tries.untraced)
        notes.append(f"{which} not tried: its step was never traced, and {NEW_TRACE_SECONDS:g} s have passed")
    return said, "; ".join(notes)


@dataclass
class _Tries:
    """The changes of one recipe, in the order of what they take to try."""

    candidate: Candidate
    hardware: Hardware
    spec: ModelSpec
    price: Price
    largest: LargestMicroBatch
    begun: float = field(default_factory=time.monotonic)
    found: list[FittingChange] = field(default_factory=list[FittingChange])
    missed: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    untraced: list[str] = field(default_factory=list[str])

    def run(self) -> None:
        """Try them all; a change that the recipe cannot take is none."""
        recipe = self.candidate.recipe
        with contextlib.suppress(BadRequest):
            self._smaller_batches(recipe)
        with contextlib.suppress(BadRequest):
            self._shorter()
        with contextlib.suppress(BadRequest):
            self._checkpointed(recipe)

    def _checkpointed(self, recipe: Recipe) -> None:
        """With checkpointing; in smaller micro-batches too where no single change does."""
        if recipe.gradient_checkpointing:
            return
        checkpointed = _with(recipe, {"gradient_checkpointing": True})
        from advisor.catalog.methods import check_recipe

        check_recipe(self.spec, checkpointed, self.candidate.workload)
        if not self._may_trace(checkpointed):
            return
        self._keep(checkpointed)
        if not self.found:
            self._smaller_batches(checkpointed)

    def with_less_state(self) -> None:
        """Under optimizers with less state, one at a time, where what they do without is as much as is too much."""
        from advisor.catalog.library_support import check_support
        from advisor.catalog.methods import find_method

        candidate, recipe = self.candidate, self.candidate.recipe
        method, parts = find_method(recipe.method), candidate.memory.breakdown
        short = candidate.memory.peak_device.mid - candidate.limit_bytes
        names = list(LESS_STATE)
        if recipe.optimizer in names:
            names = names[names.index(recipe.optimizer) + 1 :]
        if method.optimizer is not None:
            return
        for name in names:
            within = updates_in_backward(name)
            if parts.get("optimizer state", 0) + (parts.get("gradients", 0) if within else 0) < short:
                continue
            changed = _with(recipe, {"optimizer": name})
            with contextlib.suppress(BadRequest):
                check_support(self.hardware.gpu, changed, method, candidate.workload.task)
                if self._may_trace(changed):
                    self._keep(changed)

    def _may_trace(self, recipe: Recipe) -> bool:
        """Whether a recipe's trace is at hand, or the search young enough to make one."""
        known = known_trace(self.candidate.workload, recipe, self.hardware, self.spec) is not None
        if known or time.monotonic() - self.begun <= NEW_TRACE_SECONDS:
            return True
        self.untraced.append(_options(self.candidate.recipe, recipe))
        return False

    def _smaller_batches(self, recipe: Recipe) -> None:
        """The largest micro-batch that fits and divides the effective batch."""
        together = recipe.micro_batch_size * recipe.gradient_accumulation
        fewest = find_objective(self.candidate.workload.objective).fewest_rows
        if recipe.micro_batch_size <= fewest or together % fewest:
            return
        if updates_in_backward(recipe.optimizer):
            self._smaller_effective_batches(recipe, fewest)
            return
        size = self.largest(self.candidate.workload, recipe, self.hardware, self.spec, together)
        if size is None or size < recipe.micro_batch_size:
            self._keep(_split(recipe, size or fewest))

    def _smaller_effective_batches(self, recipe: Recipe, fewest: int) -> None:
        """The largest half, quarter and so on of a batch that no gradient accumulates over: the training is another."""
        size = recipe.micro_batch_size // 2
        while size >= fewest and not self.found:
            self._keep(_with(recipe, {"micro_batch_size": size}))
            size //= 2

    def _shorter(self) -> None:
        """The longest samples that fit, to a sixteenth of their length."""
        workload, recipe = self.candidate.workload, self.candidate.recipe
        if workload.image_size or workload.images or workload.audio_seconds or workload.rollout:
            return
        low, high = SHORTEST, workload.seq_len
        if low >= high:
            return
        at_least = self._at_length(low)
        if not at_least.fits:
            self.missed.append((f"--seq-len {low}", at_least.memory.peak_device.mid))
            return
        while high - low > max(1, low // 16):
            middle = (low + high) // 2
            low, high = (middle, high) if self._at_length(middle).fits else (low, middle)
        exact = self._at_length(low, thorough=True)
        while not exact.fits and low > SHORTEST:
            low = max(SHORTEST, low - low // 8)
            exact = self._at_length(low, thorough=True)
        if exact.fits:
            peak, step = exact.memory.peak_device.mid, exact.time.step.mid
            self.found.append(FittingChange(f"--seq-len {low}", peak, step, recipe))

    def _at_length(self, length: int, *, thorough: bool = False) -> Candidate:
        workload = self.candidate.workload
        mean = None if workload.mean_seq_len is None else min(workload.mean_seq_len, length)
        cut = tuple(min(one, length) for one in workload.length_quantiles)
        shorter = workload.model_copy(update={"seq_len": length, "mean_seq_len": mean, "length_quantiles": cut})
        return self.price(shorter, self.candidate.recipe, self.hardware, self.spec, thorough=thorough)

    def _keep(self, recipe: Recipe) -> None:
        tried = self.price(self.candidate.workload, recipe, self.hardware, self.spec)
        change = _change(self.candidate.recipe, tried)
        if tried.fits:
            self.found.append(change)
        else:
            self.missed.append((change.options, change.peak_device_bytes))


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


def _other_batch(before: Recipe, after: Recipe) -> str:
    """That the effective batch is another, where it is."""
    asked, now = (one.micro_batch_size * one.gradient_accumulation for one in (before, after))
    return "" if asked == now else f", an effective batch of {now}, not {asked}"


def _split(recipe: Recipe, size: int) -> Recipe:
    """The same effective batch in micro-batches of another size."""
    together = recipe.micro_batch_size * recipe.gradient_accumulation
    return _with(recipe, {"micro_batch_size": size, "gradient_accumulation": together // size})


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
