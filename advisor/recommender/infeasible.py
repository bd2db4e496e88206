"""Nothing fits: by how much, and what would - a shorter length, a smaller base, a larger GPU."""

from __future__ import annotations

from collections.abc import Sequence

from advisor.domain.candidate import Candidate
from advisor.domain.hardware import Gpu
from advisor.domain.recommendation import Refusal
from advisor.domain.units import gib
from advisor.errors import DoesNotFit
from advisor.recommender.criteria import peak_bytes
from advisor.recommender.recommend_request import ResolvedRequest, long_rows
from advisor.recommender.sizing import Costs, MethodOutcome
from advisor.recommender.workers.method_worker import fit_or_say

FRUGAL = {"method": ("qlora",), "base": ("nf4",), "gradient_checkpointing": True}
"""The least that adapts every layer; one recipe, since each one tried may have to be traced first."""


def nothing_fits(
    question: ResolvedRequest, fits: Sequence[MethodOutcome], refused: Sequence[Refusal], costs: Costs
) -> DoesNotFit:
    """The error that says so; every hint in it was computed to fit."""
    smallest = min((f.smallest for f in fits if f.smallest is not None), key=peak_bytes)
    need, limit = peak_bytes(smallest), smallest.limit_bytes
    part, size = max(smallest.memory.breakdown.items(), key=lambda item: item[1])
    hints = [*_other_methods(question, costs), *_shorter(question, smallest, costs)]
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
    if recipe.autocast and recipe.base == "dtype":
        base = f" in float32 with {recipe.dtype} autocast"
    checkpointing = ", checkpointing" if recipe.gradient_checkpointing else ""
    return f"{recipe.method}{base}{checkpointing}, {recipe.micro_batch_size} x {candidate.workload.seq_len} tokens"


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


def _shorter(question: ResolvedRequest, smallest: Candidate, costs: Costs) -> list[str]:
    """The longest length at which the smallest recipe fits, to a sixteenth of it."""
    workload = question.workload

    def at(length: int) -> Candidate:
        mean = None if workload.mean_seq_len is None else min(workload.mean_seq_len, length)
        shorter = workload.model_copy(update={"seq_len": length, "mean_seq_len": mean})
        return costs.price(shorter, smallest.recipe, question.hardware, question.spec)

    low, high = 1, workload.seq_len
    best = at(low)
    if not best.fits:
        return []
    while high - low > max(1, low // 16):
        middle = (low + high) // 2
        tried = at(middle)
        low, high, best = (middle, high, tried) if tried.fits else (low, middle, best)
    hints = [f"to fit: --seq-len {low} {gib(peak_bytes(best))}"]
    lengths = question.row_lengths
    if lengths is not None and workload.samples is not None and low > lengths.p95:
        hints.append(long_rows(lengths, workload.samples, low))
    return hints
