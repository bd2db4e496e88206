"""Which batches of which lengths fit: the wall that a recipe runs into on one machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from advisor.catalog.constants import load_constants
from advisor.domain.candidate import Candidate
from advisor.domain.hardware import Hardware
from advisor.domain.model import ModelSpec
from advisor.estimator.batch_lengths import Shape, lengths_of
from advisor.estimator.measurements import calibration_of
from advisor.estimator.memory.memory_prediction import overheads_of
from advisor.estimator.memory.replay import peak_allocated
from advisor.tracer.timelines import timeline_of, trace_of

BATCHES: Final = (1, 2, 4, 8, 16, 32, 64)
SHORTEST: Final = 64
LENGTHS: Final = 8
"""Lengths of a map, each twice the one before."""

Verdict = Literal["fits", "may fit", "does not fit"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One micro-batch of one length: bytes on the device with their range, and whether the limit holds them."""

    batch: int
    length: int
    low: float
    mid: float
    high: float
    verdict: Verdict


def feasibility(
    candidate: Candidate, hardware: Hardware, spec: ModelSpec, batches: Sequence[int] = BATCHES
) -> tuple[Cell, ...]:
    """A candidate's recipe at other micro-batches and lengths, batch by batch, by the quick sum of live bytes.

    A cell `may fit` where only a part of the allocator's usual fragmentation has room; `estimate` replays the
    allocator and says it more exactly. Lengths are powers of two around the candidate's, up to the model's context.
    None where completions are generated: what that takes is no matter of a micro-batch.
    """
    workload, recipe = candidate.workload, candidate.recipe
    if workload.rollout is not None:
        return ()
    overheads = overheads_of(hardware.gpu, calibration_of(hardware.gpu.name))
    timeline = timeline_of(trace_of(workload, recipe, hardware, spec))
    longest = lengths_of(workload, recipe)
    ratio = longest.longest_target / longest.longest
    free = recipe.batching == "padding-free"
    usual, context = load_constants("memory")["fragmentation"], overheads.context
    cells: list[Cell] = []
    for batch in batches:
        for length in lengths_around(workload.seq_len, spec.context_length):
            rows, size = (1, batch * length) if free else (batch, length)
            peak = peak_allocated(
                timeline,
                Shape(rows, size, size * ratio),
                workspace_bytes=overheads.workspace,
                accumulation=recipe.gradient_accumulation,
            ).peak
            low = peak * usual.low + context.low
            high = peak * usual.high + context.high
            mid = peak * usual.value + context.mid
            limit = candidate.limit_bytes
            verdict: Verdict = "fits" if high <= limit else "may fit" if low <= limit else "does not fit"
            cells.append(Cell(batch, length, low, mid, high, verdict))
    return tuple(cells)


def lengths_around(length: int, context: int | None, count: int = LENGTHS) -> tuple[int, ...]:
    """Powers of two with a length's neighbourhood in the middle, none beyond the context, which is the last at most."""
    most = context or 2**20
    power = max(SHORTEST, 2 ** (length.bit_length() - 1) >> (count // 2))
    found = [power << k for k in range(count) if power << k <= most]
    return tuple(found) or (most,)
