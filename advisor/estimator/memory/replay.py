"""A training run's allocations, step after step, through the caching allocator.

Shapes here: B samples in a micro-batch, S padded length, T padded target length (seq2seq), E events.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from advisor.domain.candidate import BREAKDOWN
from advisor.domain.trace.timeline import Ints, Timeline
from advisor.domain.trace.trace_schema import CATEGORIES, OP_CLASSES, PHASES
from advisor.errors import DoesNotFit
from advisor.estimator.batch_lengths import Shape
from advisor.estimator.memory.caching_allocator import MIN_BLOCK, Block, CachingAllocator
from advisor.estimator.memory.timeline_memo import TimelineMemo

_SHOWN_AS: Final = {"inputs": "base weights", "buffers": "base weights", "paged state": "optimizer state"}
_PART_OF_CATEGORY: Final = np.array([BREAKDOWN.index(_SHOWN_AS.get(c, c)) for c in CATEGORIES])
_WORKSPACE: Final = BREAKDOWN.index("workspace")
_GRADIENTS: Final = CATEGORIES.index("gradients")
_PAGED: Final = CATEGORIES.index("paged state")
"""Unified memory, which the allocator never sees: in no peak of a replay."""
_MATMULS: Final = (OP_CLASSES.index("matmul"),)
_FORWARD, _LOSS, _BACKWARD = (PHASES.index(p) for p in ("forward", "loss", "backward"))


@dataclass(frozen=True, slots=True)
class Replay:
    """What the allocator did. Bytes; `breakdown` adds up to `peak_allocated` exactly.

    `allocated`, `reserved`, `phase` are [E], after each event, `part` [E] is whose it was, an index into BREAKDOWN;
    `step_ends` the E-index at which each step ended.
    `after_steps` is what is allocated after each step.
    `fits` is False when the limit was hit: then the numbers are those up to that moment.
    """

    peak_allocated: int
    peak_reserved: int
    after_steps: tuple[int, ...]
    breakdown: dict[str, int]
    peak_phase: str
    fits: bool
    allocated: Ints
    reserved: Ints
    phase: Ints
    part: Ints
    step_ends: tuple[int, ...]


@dataclass(slots=True)
class _Stretch:
    """Consecutive memory events of one step: storages, bytes born (-1 on a death), phases."""

    storages: list[int]
    born: list[int]
    phases: list[int]
    gradient: list[bool]

    def part(self, start: int, end: int) -> _Stretch:
        """Events `start` to `end`."""
        return _Stretch(
            self.storages[start:end], self.born[start:end], self.phases[start:end], self.gradient[start:end]
        )


@dataclass(slots=True)
class _ReplayState:
    """The allocator at work and the record of what it did."""

    allocator: CachingAllocator
    part_of: dict[int, int]
    alive: dict[int, Block] = field(default_factory=dict[int, Block])
    allocated: list[int] = field(default_factory=list[int])
    reserved: list[int] = field(default_factory=list[int])
    parts: list[int] = field(default_factory=list[int])
    phases: list[int] = field(default_factory=list[int])

    def play(self, stretch: _Stretch, *, accumulating: bool = False) -> None:
        """Births and deaths of one stretch.

        `accumulating`: parameters hold gradients already, so a new gradient lives only until it is added, i.e.
        until the next one is born. Those held step aside for as long, since they go by the same names. A name that
        is born while it is alive is bound anew, and what it stood for dies, as in Python.
        """
        allocator, alive, part_of = self.allocator, self.alive, self.part_of
        held: dict[int, Block] = {}
        if accumulating:
            names = [storage for storage, gradient in zip(stretch.storages, stretch.gradient, strict=True) if gradient]
            held = {storage: alive.pop(storage) for storage in names if storage in alive}
        transient: int | None = None
        for storage, born, phase, gradient in zip(
            stretch.storages, stretch.born, stretch.phases, stretch.gradient, strict=True
        ):
            if born < 0:
                block = alive.pop(storage, None)
                if block is None:
                    continue
                allocator.free(block)
            else:
                if accumulating and gradient:
                    if transient is not None:
                        self.drop(transient, phase)
                    transient = storage
                block = allocator.malloc(born)
                if storage in alive:
                    self.drop(storage, phase)
                alive[storage] = block
            self.allocated.append(allocator.allocated)
            self.reserved.append(allocator.reserved)
            self.parts.append(part_of[storage])
            self.phases.append(phase)
        if transient is not None:
            self.drop(transient, _BACKWARD)
        alive.update(held)

    def drop(self, storage: int, phase: int) -> None:
        """One death outside the recorded events."""
        block = self.alive.pop(storage, None)
        if block is not None:
            self.allocator.free(block)
            self.allocated.append(self.allocator.allocated)
            self.reserved.append(self.allocator.reserved)
            self.parts.append(self.part_of[storage])
            self.phases.append(phase)

    def rename(self, heirs: dict[int, int], leftovers: Iterable[int]) -> None:
        """What this step leaves takes the names under which the next pass of the same events will free it."""
        for storage, heir in heirs.items():
            if storage in self.alive and heir not in self.alive:
                self.alive[heir] = self.alive.pop(storage)
        for storage in leftovers:
            self.drop(storage, PHASES.index("between"))


def replay(
    timeline: Timeline,
    batches: Sequence[Shape | str],
    *,
    accumulation: int = 1,
    workspace_bytes: int = 0,
    limit: int | None = None,
    expandable: bool = False,
) -> Replay:
    """Set-up, then the first step at `batches[0]`, then a steady step a further batch.

    Args:
        batches: at least one Shape; `EMPTY_CACHE` between two of them empties the cache there.
        accumulation: micro-batches a step. More than two are replayed as two: from the second on every
            micro-batch meets the same gradients, so the allocator repeats itself.
        workspace_bytes: one cuBLAS workspace; two are taken, one at the first product of the forward pass and
            one at the first of the backward pass, which autograd runs in a thread with a workspace of its own.
        limit: bytes the device can give.

    Source: torch 2.13, c10/cuda/CUDACachingAllocator.cpp and aten/src/ATen/cuda/CublasHandlePool.cpp.
    """
    heirs, leftovers = inheritance(timeline)
    part_of = _parts(timeline)
    part_of.update({-1: _WORKSPACE, -2: _WORKSPACE})
    run = _ReplayState(CachingAllocator(limit, expandable=expandable), part_of)
    ends: list[int] = []
    cut = _TimelineSlicer(timeline, workspace_bytes)
    fits = True
    try:
        run.play(cut.set_up(next(b for b in batches if isinstance(b, Shape))))
        for batch in batches:
            if isinstance(batch, str):
                run.allocator.empty_cache()
                continue
            first = not ends
            head, micro, tail = cut.step(batch, 1 if first else 2)
            run.play(head)
            run.play(micro)
            if accumulation > 1:
                if not first:
                    run.rename(heirs, ())
                run.play(cut.step(batch, 2)[1], accumulating=True)
                if first:
                    run.rename(heirs, ())
            run.play(tail)
            if not first:
                run.rename(heirs, leftovers)
            ends.append(len(run.allocated))
    except DoesNotFit:
        fits = False
    return _result(run, ends, fits)


def paged_bytes(timeline: Timeline) -> int:
    """Bytes of optimizer state in unified memory, on the device while it has room; the same at every shape."""
    return _KEPT_PAGED.get(timeline, (), lambda: _paged_of(timeline))


def _paged_of(timeline: Timeline) -> int:
    paged = timeline.mem_alloc & (timeline.mem_category == _PAGED)
    return int(timeline.bytes_of(1, 1, 1)[paged].sum())


@dataclass(frozen=True, slots=True)
class PeakEstimate:
    """Bytes alive at the peak of one shape, without an allocator; `breakdown` adds up to `peak` exactly."""

    peak: int
    after_step: int
    breakdown: dict[str, int]
    phase: str


_KEPT_PAGED: TimelineMemo[int] = TimelineMemo(64)
_KEPT_PEAKS: TimelineMemo[PeakEstimate] = TimelineMemo(128)


def peak_allocated(
    timeline: Timeline, shape: Shape, *, workspace_bytes: int = 0, accumulation: int = 1
) -> PeakEstimate:
    """Peak of the rounded bytes alive over set-up, first and steady step: [M] sums, no loop over events.

    For one micro-batch a step never above `replay(...).peak_allocated`, and seldom 1 % below it (blocks that are
    not split). With accumulation all gradients count as alive from the first forward pass on: an upper bound.
    Used where hundreds of recipes are compared; the last few are kept, since no card changes them.
    """
    key = (shape, workspace_bytes, accumulation > 1)
    found = _KEPT_PEAKS.get(timeline, key, lambda: _peak_of(timeline, shape, workspace_bytes, accumulation))
    return replace(found, breakdown=dict(found.breakdown))


def _peak_of(timeline: Timeline, shape: Shape, workspace_bytes: int, accumulation: int) -> PeakEstimate:
    births = timeline.mem_alloc
    born = timeline.bytes_of(shape.batch, shape.length, shape.target)
    rounded = -(-born // MIN_BLOCK) * MIN_BLOCK
    size = np.zeros(int(timeline.mem_storage.max(initial=0)) + 1, dtype=np.int64)
    category = np.zeros_like(size)
    size[timeline.mem_storage[births]] = rounded[births]
    category[timeline.mem_storage[births]] = timeline.mem_category[births]
    kind = category[timeline.mem_storage]
    change = np.where(births, rounded, -size[timeline.mem_storage])
    change = np.where(kind == _PAGED, 0, change)
    gradients = 0
    if accumulation > 1:
        gradients = int(np.cumsum(np.where(kind == _GRADIENTS, change, 0)).max(initial=0))
        change = np.where(kind == _GRADIENTS, 0, change)
    alive = np.cumsum(change)
    peak = int(alive.argmax()) if alive.size else -1
    sums = np.zeros(len(BREAKDOWN), dtype=np.int64)
    np.add.at(sums, _PART_OF_CATEGORY[kind[: peak + 1]], change[: peak + 1])
    sums[_WORKSPACE] += 2 * workspace_bytes
    sums[BREAKDOWN.index("gradients")] += gradients
    return PeakEstimate(
        peak=int(sums.sum()),
        after_step=int(alive[-1]) + 2 * workspace_bytes if alive.size else 0,
        breakdown={name: int(b) for name, b in zip(BREAKDOWN, sums, strict=True)},
        phase=PHASES[int(timeline.mem_phase[peak])] if peak >= 0 else "setup",
    )


def _result(run: _ReplayState, ends: list[int], fits: bool) -> Replay:
    allocated = np.array(run.allocated, dtype=np.int64)
    reserved = np.array(run.reserved, dtype=np.int64)
    phase = np.array(run.phases, dtype=np.int64)
    part = np.array(run.parts, dtype=np.int64)
    change = np.diff(allocated, prepend=0)
    peak = int(allocated.argmax()) if allocated.size else -1
    sums = np.zeros(len(BREAKDOWN), dtype=np.int64)
    np.add.at(sums, part[: peak + 1], change[: peak + 1])
    return Replay(
        peak_allocated=run.allocator.peak_allocated,
        peak_reserved=run.allocator.peak_reserved,
        after_steps=tuple(int(allocated[end - 1]) if end else 0 for end in ends),
        breakdown={name: int(b) for name, b in zip(BREAKDOWN, sums, strict=True)},
        peak_phase=PHASES[int(phase[peak])] if peak >= 0 else "setup",
        fits=fits,
        allocated=allocated,
        reserved=reserved,
        phase=phase,
        part=part,
        step_ends=tuple(ends),
    )


def _parts(timeline: Timeline) -> dict[int, int]:
    births = timeline.mem_alloc
    parts = _PART_OF_CATEGORY[timeline.mem_category[births]]
    return dict(zip(timeline.mem_storage[births].tolist(), parts.tolist(), strict=True))


class _TimelineSlicer:
    """Cuts a timeline into stretches at the shapes asked for, each computed once."""

    def __init__(self, timeline: Timeline, workspace_bytes: int) -> None:
        self.timeline = timeline
        self.workspace_bytes = workspace_bytes
        self.known: dict[tuple[Shape, int], tuple[_Stretch, _Stretch, _Stretch]] = {}
        self.born: dict[Shape, Ints] = {}

    def set_up(self, shape: Shape) -> _Stretch:
        """The events before the first step."""
        return self._stretch(shape, 0)[0]

    def step(self, shape: Shape, step: int) -> tuple[_Stretch, _Stretch, _Stretch]:
        """What precedes the micro-batch, the micro-batch, what follows it (clipping, optimizer)."""
        if (shape, step) not in self.known:
            whole, at = self._stretch(shape, step)
            if step == 1 and self.workspace_bytes:
                self._add_workspaces(whole, at)
            inside = [i for i, phase in enumerate(whole.phases) if phase in (_FORWARD, _LOSS, _BACKWARD)]
            start, end = (inside[0], inside[-1] + 1) if inside else (0, 0)
            self.known[shape, step] = (whole.part(0, start), whole.part(start, end), whole.part(end, len(at)))
        return self.known[shape, step]

    def _stretch(self, shape: Shape, step: int) -> tuple[_Stretch, list[int]]:
        """All memory events of one step, and their positions in the common order."""
        timeline = self.timeline
        if shape not in self.born:
            self.born[shape] = timeline.bytes_of(shape.batch, shape.length, shape.target)
        chosen = timeline.mem_step == step
        alloc = timeline.mem_alloc[chosen]
        born = np.where(alloc, self.born[shape][chosen], -1)
        # the allocator never sees a tensor without elements, nor unified memory
        keep = (born != 0) & (timeline.mem_category[chosen] != _PAGED)
        whole = _Stretch(
            storages=timeline.mem_storage[chosen][keep].tolist(),
            born=born[keep].tolist(),
            phases=timeline.mem_phase[chosen][keep].tolist(),
            gradient=((timeline.mem_category[chosen] == _GRADIENTS) & alloc)[keep].tolist(),
        )
        return whole, timeline.mem_at[chosen][keep].tolist()

    def _add_workspaces(self, whole: _Stretch, at: list[int]) -> None:
        for storage, phases in ((-1, (_FORWARD, _LOSS)), (-2, (_BACKWARD,))):
            first = first_product(self.timeline, 1, phases)
            if first is not None:
                where = bisect_left(at, first)
                at.insert(where, first)
                whole.storages.insert(where, storage)
                whole.born.insert(where, self.workspace_bytes)
                whole.phases.insert(where, phases[0])
                whole.gradient.insert(where, False)


def first_product(timeline: Timeline, step: int, phases: tuple[int, ...]) -> int | None:
    """Position of the first matrix product of a step in any of the phases."""
    chosen = (timeline.op_step == step) & np.isin(timeline.op_class, _MATMULS) & np.isin(timeline.op_phase, phases)
    found = timeline.op_at[chosen]
    return int(found[0]) if found.size else None


def inheritance(timeline: Timeline) -> tuple[dict[int, int], list[int]]:
    """How step 2 follows itself: what it leaves alive -> what it frees of the step before; and what has no heir.

    The trace records one steady step, which frees storages of the first (its outputs, its gradients). When the
    steady step is replayed again it must free those of its predecessor: the ones of the same category and size,
    in order of birth.
    """
    births = timeline.mem_alloc
    step_of: dict[int, int] = {}
    kind_of: dict[int, tuple[int, int]] = {}
    for storage, step, category, poly in zip(
        timeline.mem_storage[births].tolist(),
        timeline.mem_step[births].tolist(),
        timeline.mem_category[births].tolist(),
        timeline.mem_poly[births].tolist(),
        strict=True,
    ):
        step_of[storage] = step
        kind_of[storage] = (category, poly)
    dead_in_2 = set(timeline.mem_storage[~births & (timeline.mem_step == 2)].tolist())
    inherited: defaultdict[tuple[int, int], deque[int]] = defaultdict(deque)
    for storage, step in step_of.items():
        if step != 2 and storage in dead_in_2:
            inherited[kind_of[storage]].append(storage)
    heirs: dict[int, int] = {}
    leftovers: list[int] = []
    for storage, step in step_of.items():
        if step == 2 and storage not in dead_in_2:
            queue = inherited[kind_of[storage]]
            if queue:
                heirs[storage] = queue.popleft()
            else:
                leftovers.append(storage)
    return heirs, leftovers
