"""Memory through one training step, part by part: what stands behind a peak."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from advisor.domain.candidate import BREAKDOWN, Candidate
from advisor.domain.hardware import Hardware
from advisor.domain.model import ModelSpec
from advisor.domain.trace.trace_schema import PHASES
from advisor.estimator.batch_lengths import lengths_of
from advisor.estimator.measurements import calibration_of
from advisor.estimator.memory.memory_prediction import overheads_of
from advisor.estimator.memory.reserved_memory import MemoryQuestion, unlimited_replay
from advisor.tracer.timelines import timeline_of, trace_of

POINTS: Final = 160
"""Points of a step's curve: more cannot be told apart in a picture."""


@dataclass(frozen=True, slots=True)
class StepMemory:
    """Bytes at P points of the step that has the peak, in the order of events, which is not to scale in time.

    `parts` maps names of BREAKDOWN to [P] bytes allocated; `reserved` [P] is what the allocator holds, `context` what
    the CUDA context takes beside both; `phases` [P].
    """

    parts: dict[str, tuple[int, ...]]
    reserved: tuple[int, ...]
    phases: tuple[str, ...]
    context: int


def step_memory(candidate: Candidate, hardware: Hardware, spec: ModelSpec, points: int = POINTS) -> StepMemory:
    """The step in which a candidate's allocated memory peaks, replayed; each point is the highest of its stretch."""
    workload, recipe = candidate.workload, candidate.recipe
    overheads = overheads_of(hardware.gpu, calibration_of(hardware.gpu.name))
    timeline = timeline_of(trace_of(workload, recipe, hardware, spec))
    played = unlimited_replay(MemoryQuestion(timeline, lengths_of(workload, recipe), recipe, overheads.workspace))
    highest = int(played.allocated.argmax())
    step = int(np.searchsorted(played.step_ends, highest, side="right"))
    start = played.step_ends[step - 1] if step else 0
    end = played.step_ends[step]
    change = np.diff(played.allocated, prepend=0)
    edges = np.unique(np.linspace(start, end, points + 1).astype(int))
    at = np.array([a + int(played.allocated[a:b].argmax()) for a, b in pairwise(edges.tolist())])
    parts = {
        name: tuple(int(one) for one in np.cumsum(np.where(played.part == index, change, 0))[at])
        for index, name in enumerate(BREAKDOWN)
    }
    return StepMemory(
        parts={name: sizes for name, sizes in parts.items() if any(sizes)},
        reserved=tuple(int(one) for one in played.reserved[at]),
        phases=tuple(PHASES[int(one)] for one in played.phase[at]),
        context=round(overheads.context.mid),
    )
