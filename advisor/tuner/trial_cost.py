"""What a trial will need before it is launched: memory, seconds, USD; corrected by the study's own trials."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from advisor.domain.hardware import Gpu, Hardware
from advisor.domain.quantity import Quantity
from advisor.domain.recipe import Recipe
from advisor.domain.units import HOUR, gib
from advisor.domain.workload import Workload
from advisor.errors import AdvisorError, IllegalRecipe
from advisor.estimator.spending.search_cost import scored_rows, with_scoring
from advisor.tuner.tune_request import MeasuredSteps, TuneRequest

MEASURED_SPREAD = 0.25
"""Half-width of a time by a few measured steps, beside their own range: later rows are longer or shorter."""
SPREAD = 0.5
"""Half-width of a time known from other trials only: rows, ranks and lengths differ between them."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """Of one trial; None is unknown. `limit_bytes` is what it may use."""

    bytes: Quantity | None
    seconds: Quantity | None
    usd: Quantity | None
    limit_bytes: int
    model_bytes: Quantity | None = None
    """The cost model's own word, before this study's trials corrected it."""
    notes: tuple[str, ...] = ()
    illegal: str = ""
    """Why the settings cannot be run at all, where they cannot."""


@dataclass(frozen=True, slots=True)
class FinishedTrials:
    """One finished trial: how much work it was, what was predicted before any correction, what it took."""

    tokens: float
    train_seconds: float
    other_seconds: float
    predicted_bytes: float | None
    measured_bytes: int | None
    predicted_seconds: float | None


def cpu_hardware(workers: int = 1) -> Hardware:
    """This machine's memory as the device of a trial, shared among the workers; rates unknown, so never 0."""
    import psutil

    memory = psutil.virtual_memory()
    gpu = Gpu.model_validate(
        {
            "name": "cpu",
            "vendor": "this machine",
            "generation": "cpu",
            "memory_bytes": memory.total,
            "usable_bytes": max(1, memory.available // workers),
            "usable_why": "memory available when asked, shared among the workers",
            "confidence": "low",
        }
    )
    return Hardware.model_validate({"gpu": gpu, "asked": "cpu", "headroom": 0.1})


def limit_bytes(request: TuneRequest, workers: int = 1) -> int:
    """What one training may use: of the GPU, or of this machine's memory where so many workers share it."""
    most = (request.hardware or cpu_hardware(workers)).limit_bytes
    return min(most, request.memory_bytes or most)


def predict(
    request: TuneRequest,
    recipe: Recipe,
    workload: Workload,
    past: Sequence[FinishedTrials] = (),
    *,
    limit: int | None = None,
) -> Prediction:
    """What one trial needs; trials of this study that have finished correct the model's word.

    `limit` is what it may use, where that is not this machine's own `limit_bytes`.
    """
    hardware = request.hardware or cpu_hardware()
    limit = limit_bytes(request) if limit is None else limit
    notes: list[str] = []
    try:
        size, seconds = _modelled(request, recipe, workload, hardware)
    except IllegalRecipe as error:
        return Prediction(None, None, None, limit, illegal=error.message)
    except AdvisorError as error:
        size, seconds = None, None
        notes.append(f"not predicted: {error.message}")
    model = size
    pairs = [(p.measured_bytes, p.predicted_bytes) for p in past if p.measured_bytes and p.predicted_bytes]
    if size is not None and pairs:
        size = _scaled(size, pairs) if request.hardware else _shifted(size, pairs)
    seconds = _time(request, workload, seconds, past)
    usd = None
    if seconds is not None and request.budget.usd_per_hour is not None:
        usd = seconds.times(request.budget.usd_per_hour / HOUR, "USD", f"{seconds.why}; your price an hour")
    return Prediction(size, seconds, usd, limit, model, tuple(notes))


def _modelled(
    request: TuneRequest, recipe: Recipe, workload: Workload, hardware: Hardware
) -> tuple[Quantity | None, Quantity | None]:
    """(bytes, seconds of the training alone)."""
    from advisor.estimator import estimate

    if request.hardware is not None:
        candidate = estimate.price(workload, recipe, hardware, request.spec, thorough=False, use_measured=False)
        return candidate.memory.peak_device, candidate.time.training
    from advisor.estimator.batch_lengths import Shape
    from advisor.estimator.memory.replay import peak_allocated

    timeline = estimate.timeline_of(estimate.trace_of(workload, recipe, hardware, request.spec))
    shape = Shape(recipe.micro_batch_size, workload.seq_len, workload.target_len or workload.seq_len)
    live: Any = peak_allocated(timeline, shape, workspace_bytes=0, accumulation=recipe.gradient_accumulation)
    why = "live bytes of the traced step; a CPU's allocator and libraries come on top"
    return Quantity.around(float(live.peak), 0.1, 1.0, "B", "modelled", why), None


def _scaled(size: Quantity, pairs: Sequence[tuple[float, float]]) -> Quantity:
    """A GPU's memory: what was measured is proportional to what was said."""
    ratios = [measured / said for measured, said in pairs]
    ratio = statistics.median(ratios)
    why = f"{size.why}; times {ratio:.2f} as measured in {len(ratios)} trials of this study"
    low, high = min(*ratios, ratio * 0.95), max(*ratios, ratio * 1.05)
    return Quantity(
        low=size.mid * low, mid=size.mid * ratio, high=size.mid * high, unit="B", basis="calibrated", why=why
    )


def _shifted(size: Quantity, pairs: Sequence[tuple[float, float]]) -> Quantity:
    """A CPU's memory: libraries and the C allocator take a share that does not grow with the model."""
    extras = [measured - said for measured, said in pairs]
    extra = statistics.median(extras)
    why = f"{size.why}; and {gib(extra)} more, as measured in {len(extras)} trials of this study"
    low, high = size.mid + min(*extras, extra * 0.9), size.mid + max(*extras, extra * 1.1)
    return Quantity(low=low, mid=size.mid + extra, high=high, unit="B", basis="calibrated", why=why)


def tokens_of(request: TuneRequest, workload: Workload) -> float:
    """Tokens that a training passes through the model, padding counted."""
    return max(1.0, request.splits.rows["train"] * workload.epochs * workload.mean_length)


def measured_training_seconds(request: TuneRequest, measured: MeasuredSteps, workload: Workload) -> float:
    """One training by the steps measured: loading, rows times epochs, scorings, the best weights saved a few times."""
    rows = request.splits.rows
    scored = scored_rows(rows["evaluation"], request.evaluations, request.evaluation_rows)
    if rows["evaluation"] > request.evaluation_rows:
        scored += rows["evaluation"]
    return (
        measured.load_seconds
        + measured.row_seconds * rows["train"] * workload.epochs
        + measured.scored_row_seconds * scored
        + measured.save_seconds * min(3, request.evaluations)
    )


def _time(
    request: TuneRequest, workload: Workload, modelled: Quantity | None, past: Sequence[FinishedTrials]
) -> Quantity | None:
    """Training, scoring, loading and saving."""
    if past:
        rate = statistics.median(p.train_seconds / p.tokens for p in past if p.tokens)
        other = statistics.median(p.other_seconds for p in past)
        mid = rate * tokens_of(request, workload) + other
        spread = SPREAD if len(past) < 4 else SPREAD / 2
        return Quantity.around(mid, spread, spread, "s", "measured", f"{len(past)} trials of this study")
    if request.measured is not None:
        mid = measured_training_seconds(request, request.measured, workload)
        spread = min(0.9, MEASURED_SPREAD + request.measured.spread)
        return Quantity.around(mid, spread, spread, "s", "measured", f"{request.measured.steps} steps measured here")
    if modelled is None:
        return None
    rows = request.splits.rows
    scored = scored_rows(rows["evaluation"], request.evaluations, request.evaluation_rows)
    return with_scoring(modelled, scored, rows["train"] * workload.epochs)
