"""From a replay to what a reader is told: peaks with their ranges, a breakdown that adds up, what fits."""

from __future__ import annotations

import math
from dataclasses import dataclass

from advisor.catalog.constants import load_constants
from advisor.catalog.library_support import allocator_note
from advisor.domain.candidate import BREAKDOWN, Memory
from advisor.domain.hardware import Gpu
from advisor.domain.profile import Calibration
from advisor.domain.quantity import Quantity
from advisor.domain.recipe import Recipe
from advisor.domain.trace.timeline import Timeline
from advisor.domain.units import Basis, gib
from advisor.errors import BadRequest
from advisor.estimator.batch_lengths import MEAN_STEP, BatchLengths
from advisor.estimator.cpu_device import PROCESSOR
from advisor.estimator.memory.replay import Replay, paged_bytes, peak_allocated
from advisor.estimator.memory.reserved_memory import (
    MemoryQuestion,
    ReservedMemory,
    fits,
    reserved_memory,
    unlimited_replay,
)


@dataclass(frozen=True, slots=True)
class Correction:
    """What a fit changes in predicted bytes: those alive between steps, added to; and reserved ones, scaled."""

    after_step_bytes: float = 0.0
    reserved_scale: float = 1.0


def correction_of(calibration: Calibration | None) -> Correction:
    """The correction a device's fit asks for; none without one."""
    found = {c.name: c.value for c in calibration.memory} if calibration else {}
    return Correction(found.get("after_step_bytes", 0.0), found.get("reserved_scale", 1.0))


@dataclass(frozen=True, slots=True)
class Overheads:
    """What a process takes beside tensors: bytes of one cuBLAS workspace, and of the CUDA context (with its range)."""

    workspace: int
    context: Quantity


def overheads_of(gpu: Gpu, calibration: Calibration | None = None) -> Overheads:
    """The overheads on one device; a measured context replaces the assumed one.

    Source: aten/src/ATen/cuda/CublasHandlePool.cpp for the workspace; the catalogue's constants for the context.
    """
    if gpu.vendor == PROCESSOR:
        return Overheads(0, Quantity.exact(0, "B", "modelled", "a processor has no context beside tensors"))
    constants = load_constants("memory")
    large = gpu.compute_capability is not None and int(gpu.compute_capability) in (9, 10, 12)
    workspace = constants["cublas_workspace_hopper" if large else "cublas_workspace"].value
    for measured in calibration.memory if calibration else ():
        if measured.name == "context":
            spread = 2 * (measured.error or 0.0)
            low = max(0.0, measured.value - spread)
            return Overheads(
                int(workspace),
                Quantity(
                    low=low,
                    mid=measured.value,
                    high=measured.value + spread,
                    unit="B",
                    basis="calibrated",
                    why=f"context measured on {gpu.name}",
                ),
            )
    assumed = constants["context"]
    context = Quantity(
        low=assumed.low, mid=assumed.value, high=assumed.high, unit="B", basis="assumed", why=assumed.says
    )
    return Overheads(int(workspace), context)


def memory_of(
    timeline: Timeline,
    lengths: BatchLengths,
    recipe: Recipe,
    gpu: Gpu,
    calibration: Calibration | None = None,
    *,
    thorough: bool = True,
    model: str = "",
    limit: int | None = None,
) -> tuple[Memory, tuple[str, ...]]:
    """Peaks of one recipe on one device, and notes on what the allocator does there.

    Args:
        thorough: replay the allocator; without it the reserved peak is the allocated one times the catalogue's usual
            fragmentation, in a hundredth of the time.
        model: compared with the models a fit has seen.
        limit: bytes the device may hold, context and all. Reserved memory stays below it where the replay under it
            ends; where it does not, the peaks are those of a device without end, and so above the limit.

    Raises:
        BadRequest: the limit leaves nothing beside the CUDA context.
    """
    overheads = overheads_of(gpu, calibration)
    interval, basis, why = _interval(calibration, gpu, model)
    room = None if limit is None else _room(limit, overheads, calibration)
    if limit is not None and limit <= overheads.context.mid:
        raise BadRequest(
            f"{gib(limit)} may be used, and the CUDA context alone takes about {gib(overheads.context.mid)}",
            hints=["a card's memory is given as --gpu-memory 24GB", "and less of it kept free by --headroom 0.05"],
            limit_bytes=limit,
        )
    if thorough:
        correction = correction_of(calibration)
        asked = MemoryQuestion(timeline, lengths, recipe, overheads.workspace, room)
        played = unlimited_replay(asked)
        found = reserved_memory(asked, played)
        tokens = _of_uncertain_tokens(asked)
        memory = _memory(played, found, correction, overheads, interval, basis, why, room, tokens)
        return _of_device(memory, gpu, timeline), found.notes
    quick = peak_allocated(
        timeline,
        lengths.largest,
        workspace_bytes=overheads.workspace,
        accumulation=recipe.gradient_accumulation,
    )
    usual = load_constants("memory")["fragmentation"]
    bound = (usual.value - usual.low) / usual.value, (usual.high - usual.value) / usual.value
    why = "rounded bytes alive; reserved: times the usual fragmentation"
    reserved = Quantity.around(quick.peak * usual.value, *bound, "B", "modelled", why)
    breakdown = {**quick.breakdown, "context": round(overheads.context.mid)}
    breakdown["fragmentation"] = round(reserved.mid) - quick.peak
    memory = Memory(
        peak_allocated=Quantity.around(quick.peak, *_allocated_interval(), "B", "modelled", why),
        peak_reserved=reserved,
        allocated_after_step=Quantity.around(quick.after_step, *_allocated_interval(), "B", "modelled", why),
        peak_device=reserved.plus(overheads.context, "reserved by the allocator, and the CUDA context"),
        breakdown=breakdown,
        peak_phase=quick.phase,
    )
    return _of_device(memory, gpu, timeline), ()


def fits_in(
    timeline: Timeline,
    lengths: BatchLengths,
    recipe: Recipe,
    gpu: Gpu,
    calibration: Calibration | None,
    limit: int,
) -> bool:
    """Whether a recipe fits into a device that may hold `limit` bytes, as `memory_of` would say; nothing else."""
    overheads = overheads_of(gpu, calibration)
    asked = MemoryQuestion(timeline, lengths, recipe, overheads.workspace)
    return fits(asked, _room(limit, overheads, calibration))


def _room(limit: int, overheads: Overheads, calibration: Calibration | None) -> int:
    """Bytes the allocator may reserve beside the context, before a fit's correction."""
    return math.floor((limit - overheads.context.mid) / correction_of(calibration).reserved_scale)


def _of_device(memory: Memory, gpu: Gpu, timeline: Timeline) -> Memory:
    """With what the device adds to the allocator's own doubt: another allocator than CUDA's, and paged state."""
    return _with_paged(_with_own_allocator(memory, gpu), paged_bytes(timeline))


def _with_own_allocator(memory: Memory, gpu: Gpu) -> Memory:
    """Where another allocator than CUDA's hands memory out, the range of what is reserved is wider.

    It reaches from what is allocated, which no allocator undercuts, to the usual fragmentation above CUDA's. The
    context is not handed out by an allocator.
    """
    if not allocator_note(gpu):
        return memory
    reserved = memory.peak_reserved
    lower = max(0.0, reserved.low - memory.peak_allocated.low)
    higher = (load_constants("memory")["fragmentation"].high - 1) * reserved.high

    def wider(found: Quantity) -> Quantity:
        return found.model_copy(update={"low": found.low - lower, "high": found.high + higher})

    names = ("peak_reserved", "peak_device")
    return memory.model_copy(update={name: wider(getattr(memory, name)) for name in names})


def _with_paged(memory: Memory, paged: int) -> Memory:
    """Paged optimizer state may or may not lie on the device: the driver evicts it when room is short.

    So it can only raise the device's peak, never keep a recipe from fitting.
    """
    if not paged:
        return memory
    device = memory.peak_device
    why = f"{device.why}; up to {gib(paged)} more of paged optimizer state, which moves to the host for room"
    return memory.model_copy(
        update={"peak_device": device.model_copy(update={"high": device.high + paged, "why": why})}
    )


def _memory(
    played: Replay,
    found: ReservedMemory,
    correction: Correction,
    overheads: Overheads,
    interval: tuple[float, float],
    basis: Basis,
    why: str,
    room: int | None,
    tokens: tuple[int, int],
) -> Memory:
    """The Memory of a replay with a fit's correction.

    Args:
        tokens: bytes that the largest batch may hold less, below 0, and more.
    """
    fewer, more = tokens
    allocated = played.peak_allocated
    scale = correction.reserved_scale
    reserved = round(max(found.peak * scale, allocated))
    most = max(reserved, found.high * scale * (1 + interval[1])) + more
    in_use = Quantity.around(
        allocated,
        *_allocated_interval(),
        "B",
        "modelled",
        f"sum of the blocks in use at the peak, in {played.peak_phase}",
    )
    in_use = in_use.model_copy(update={"low": max(0.0, in_use.low + fewer), "high": in_use.high + more})
    if room is not None and reserved <= room * scale:
        # where the card is full the allocator gives back what it caches, and nothing in use exceeds it
        most = min(most, room * scale)
        in_use = in_use.model_copy(update={"high": max(in_use.mid, min(in_use.high, room * scale))})
    after = played.after_steps[min(MEAN_STEP, len(played.after_steps) - 1)] + correction.after_step_bytes
    breakdown = {part: played.breakdown[part] for part in BREAKDOWN}
    breakdown["context"] = round(overheads.context.mid)
    breakdown["fragmentation"] = reserved - allocated
    of_reserved = Quantity(
        low=max(0.0, min(reserved, found.low * scale * (1 - interval[0])) + fewer),
        mid=reserved,
        high=max(reserved, most),
        unit="B",
        basis=basis,
        why=why if found.low == found.high else f"{why}; wider, for the order of batches decides",
    )
    return Memory(
        peak_allocated=in_use,
        peak_reserved=of_reserved,
        allocated_after_step=Quantity.around(
            after, *_allocated_interval(), "B", "modelled", "blocks in use between two steps"
        ),
        peak_device=of_reserved.plus(overheads.context, "reserved by the allocator, and the CUDA context"),
        breakdown=breakdown,
        peak_phase=played.peak_phase,
    )


def _of_uncertain_tokens(asked: MemoryQuestion) -> tuple[int, int]:
    """Bytes in use that the largest padding-free batch may take less, below 0, and more: its tokens are not known."""
    lengths = asked.lengths
    if lengths.longest_low == lengths.longest_high:
        return 0, 0

    def peak(length: float) -> int:
        accumulation = asked.recipe.gradient_accumulation
        return peak_allocated(asked.timeline, lengths.shape(length), accumulation=accumulation).peak

    usual = peak(lengths.longest)
    return peak(lengths.longest_low) - usual, peak(lengths.longest_high) - usual


def _allocated_interval() -> tuple[float, float]:
    error = load_constants("memory")["allocated_error"]
    return error.value - error.low, error.high - error.value


def _interval(calibration: Calibration | None, gpu: Gpu, model: str) -> tuple[tuple[float, float], Basis, str]:
    """Relative ends of the reserved peak: fitted where runs of this device are at hand, else the catalogue's.

    For a model that the fit has not seen never narrower than the catalogue's.
    """
    error = load_constants("memory")["reserved_error"]
    usual = (error.value - error.low, error.high - error.value)
    if calibration is None or calibration.memory_interval is None:
        return usual, "modelled", f"allocator replayed; no measured run of {gpu.name} to set the range by"
    low, high = calibration.memory_interval
    ends = (min(1.0, max(0.0, -low)), max(0.0, high))
    why = f"allocator replayed; range from {len(calibration.fitted_on)} {gpu.name} runs"
    if model not in calibration.models:
        return (
            (max(ends[0], usual[0]), max(ends[1], usual[1])),
            "calibrated",
            f"{why}, none of this model: range widened",
        )
    return ends, "calibrated", why
