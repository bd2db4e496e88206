"""Nothing fits: by how much, and what would - a shorter length, a smaller base, a larger GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from advisor.catalog.methods import find_method
from advisor.catalog.objectives import usual_accumulation
from advisor.dataset.lengths import long_rows
from advisor.domain.candidate import Candidate
from advisor.domain.hardware import Gpu
from advisor.domain.recommendation import Refusal
from advisor.domain.units import gib
from advisor.errors import DoesNotFit
from advisor.estimator.fitting.changes import less_state_that_fits
from advisor.recommender.criteria import peak_bytes
from advisor.recommender.recipe_space import EIGHT_BIT
from advisor.recommender.recommend_request import ResolvedRequest
from advisor.recommender.sizing import Costs, MethodOutcome
from advisor.recommender.workers.method_worker import fit_or_say

PAGED_EIGHT_BIT: Final = "paged_adamw_8bit"
"""The same state in unified memory, which the driver moves to the host where the device is full (QLoRA, section 3)."""

FRUGAL = {"method": ("qlora",), "base": ("nf4",), "gradient_checkpointing": True}
"""The least that adapts every layer; one recipe, since each one tried may have to be traced first."""


def nothing_fits(
    question: ResolvedRequest, fits: Sequence[MethodOutcome], refused: Sequence[Refusal], costs: Costs
) -> DoesNotFit:
    """The error that says so; every hint in it was computed to fit."""
    smallest = min((f.smallest for f in fits if f.smallest is not None), key=peak_bytes)
    need, limit = peak_bytes(smallest), smallest.limit_bytes
    part, size = max(smallest.memory.breakdown.items(), key=lambda item: item[1])
    hints = [*_smaller(question, smallest, costs), *_other_methods(question, costs)]
    hints.extend(_shorter(question, smallest, costs))
    hints.extend(_fewer_at_once(question, smallest, costs))
    larger = larger_gpus(question, need)
    hints.extend(f"to fit: --gpu {gpu.name} {gib(gpu.usable_bytes)}{_price(usd)}" for gpu, usd in larger[:2])
    return DoesNotFit(
        f"{question.spec.name} does not fit on {question.hardware.count} x {question.hardware.gpu.name}: the smallest "
        f"recipe ({describe(smallest)}) needs {gib(need)} ({gib(smallest.memory.peak_device.low)} – "
        f"{gib(smallest.memory.peak_device.high)}, {smallest.memory.peak_device.basis}), has {gib(limit)}",
        cause=f"largest part: {part}, {gib(size)}",
        hints=hints or ["no single GPU of the catalogue is large enough: see advisor gpus"],
        need_bytes=int(need),
        limit_bytes=limit,
        short_bytes=int(need - limit),
        smallest=smallest.recipe.model_dump(mode="json"),
        larger_gpus=[gpu.name for gpu, _ in larger],
        refused=[r.model_dump() for r in refused],
    )


def describe(candidate: Candidate) -> str:
    """A recipe in a few words: `lora on nf4, checkpointing, 1 x 1024 tokens`."""
    recipe = candidate.recipe
    base = f" on {recipe.base}" if recipe.base != "dtype" else ""
    if recipe.mixed and recipe.base == "dtype":
        base = f" in {recipe.precision}"
    checkpointing = ", checkpointing" if recipe.gradient_checkpointing else ""
    return f"{recipe.method}{base}{checkpointing}, {recipe.micro_batch_size} x {candidate.workload.size_in_words}"


def larger_gpus(question: ResolvedRequest, need: float) -> list[tuple[Gpu, float | None]]:
    """GPUs of the same maker that hold `need` bytes and the headroom, cheapest first, unpriced ones last."""
    from advisor.catalog.gpus import gpus
    from advisor.catalog.prices import offers

    mine = question.hardware
    found: list[tuple[Gpu, float | None]] = []
    for gpu in gpus():
        if gpu.vendor != mine.gpu.vendor or gpu.usable_bytes * (1 - mine.headroom) < need:
            continue
        hourly = [price.per_gpu(spot=False) for price in offers(gpu.name)]
        known = [usd for usd in hourly if usd is not None]
        found.append((gpu, min(known) if known else None))
    return sorted(found, key=lambda pair: (pair[1] is None, pair[1] or 0.0, pair[0].memory_bytes))


def _price(usd: float | None) -> str:
    return "" if usd is None else f", from {usd:.2f} USD/h"


def _other_methods(question: ResolvedRequest, costs: Costs) -> list[str]:
    """Whether the most frugal recipe would fit, had methods, bases or checkpointing not been chosen by the user."""
    request = question.request
    if request.method is None and request.base is None and request.gradient_checkpointing is None:
        return []
    frugal = question.model_copy(update={"request": request.model_copy(update=FRUGAL)})
    found = fit_or_say(frugal, "qlora", costs).candidate
    return [] if found is None else [f"to fit: --method qlora --gradient-checkpointing {gib(peak_bytes(found))}"]


def _smaller(question: ResolvedRequest, smallest: Candidate, costs: Costs) -> list[str]:
    """The smallest recipe with checkpointing, then with an optimizer whose state is smaller, as far as needed."""
    able = find_method(smallest.recipe.method).optimizer is None and question.hardware.gpu.vendor == "nvidia"
    change = less_state_that_fits(
        smallest,
        (EIGHT_BIT, PAGED_EIGHT_BIT) if able else (),
        lambda recipe: costs.price(smallest.workload, recipe, question.hardware, question.spec),
    )
    if change is None:
        return []
    cost = f"a step takes {change.step_seconds / smallest.time.step.mid:.2g} times as long"
    if change.recipe.optimizer == PAGED_EIGHT_BIT:
        cost += ", more where its state moves to the host"
    return [f"to fit: {change.options} {gib(change.peak_device_bytes)} ({cost})"]


def _shorter(question: ResolvedRequest, smallest: Candidate, costs: Costs) -> list[str]:
    """The longest length at which the smallest recipe fits, to a sixteenth of it."""
    workload = question.workload
    if workload.image_size is not None or workload.audio_seconds is not None:
        return []

    def at(length: int) -> Candidate:
        mean = None if workload.mean_seq_len is None else min(workload.mean_seq_len, length)
        shorter = workload.model_copy(update={"seq_len": length, "mean_seq_len": mean})
        return costs.price(shorter, smallest.recipe, question.hardware, question.spec)

    # a completion is part of the sequence, and some of a prompt comes before it
    low, high = (1 if workload.rollout is None else workload.rollout.completion_length + 1), workload.seq_len
    best = at(low)
    if not best.fits:
        return []
    while high - low > max(1, low // 16):
        middle = (low + high) // 2
        tried = at(middle)
        low, high, best = (middle, high, tried) if tried.fits else (low, middle, best)
    lengths = question.row_lengths
    fitting = f"to fit: --seq-len {low} {gib(peak_bytes(best))}"
    if lengths is None or workload.samples is None:
        return [fitting]
    hints = [f"{fitting}, which cuts {lengths.tokens_beyond(low):.1%} of all tokens"]
    if low > lengths.p95:
        hints.append(long_rows(lengths, workload.samples, low))
    if workload.task == "causal-lm" and workload.objective == "sft":
        # TRL 1.16, SFTConfig.packing_strategy
        hints.append(f"to split long rows instead: TRL's packing=True, packing_strategy='bfd_split', max_length={low}")
    return hints


def _fewer_at_once(question: ResolvedRequest, smallest: Candidate, costs: Costs) -> list[str]:
    """The most micro-batches generated at once at which the smallest recipe fits, where generation is largest."""
    rollout, recipe = smallest.workload.rollout, smallest.recipe
    if rollout is None or smallest.memory.peak_phase != "generation":
        return []
    least = usual_accumulation(rollout, recipe.micro_batch_size)
    steps = rollout.batches(recipe.gradient_accumulation) // 2
    while steps >= least:
        whole = steps - steps % least
        fewer = smallest.workload.model_copy(
            update={"rollout": rollout.model_copy(update={"steps_per_generation": whole})}
        )
        tried = costs.price(fewer, recipe, question.hardware, question.spec)
        if tried.fits:
            return [f"to fit: --steps-per-generation {whole} {gib(peak_bytes(tried))}"]
        steps = whole // 2
    return []
