"""A timeline compiled for many batches: per stretch of a step, which name is born or dies, and how large at a length.

Shapes here: E events of a stretch, L batch shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from advisor.domain.trace.timeline import Ints, Timeline
from advisor.domain.trace.trace_schema import CATEGORIES, PHASES
from advisor.estimator.batch_lengths import Shape
from advisor.estimator.memory.block_pool import UNIT
from advisor.estimator.memory.caching_allocator import SMALL_SIZE
from advisor.estimator.memory.replay import first_product, inheritance
from advisor.estimator.polynomials import Polynomials

_GRADIENTS: Final = CATEGORIES.index("gradients")
_PAGED: Final = CATEGORIES.index("paged state")
_FORWARD, _LOSS, _BACKWARD = (PHASES.index(p) for p in ("forward", "loss", "backward"))
_DEATH: Final = -1


@dataclass(frozen=True, slots=True)
class Events:
    """Births and deaths in order: [E] names, [E] index of the size (below 0: a death), [E] own birth of a death.

    `born_at` is the position at which what dies here was born in these same events, -1 where it was born before.
    `lasting` tells of each birth whether its name may still be alive from the step before.
    """

    slots: Ints
    size: Ints
    born_at: Ints
    lasting: NDArray[np.bool_]

    def of_pool(self, units: Ints, *, small: bool) -> tuple[list[int], list[int]]:
        """Names and sizes in units, deaths below 0, of the blocks that fall into one pool.

        A death of what was born earlier stays in: where that lies in the other pool, the name is not alive in this.
        """
        birth = self.size >= 0
        sizes = np.where(birth, units[self.size], _DEATH)
        mine = (sizes > 0) & ((sizes <= SMALL_SIZE // UNIT) == small)
        # a name bound anew in the other pool is no longer what it stood for in this one
        sizes = np.where(birth & ~mine, _DEATH, sizes)
        kept = np.asarray(np.where(birth, mine | self.lasting, (self.born_at < 0) | mine[self.born_at]), dtype=np.bool_)
        return self.slots[kept].tolist(), sizes[kept].tolist()


@dataclass(frozen=True, slots=True)
class Stretches:
    """One step: what precedes the micro-batch, the micro-batch, a further accumulated one, what follows."""

    head: Events
    micro: Events
    further: Events
    tail: Events


class StepProgram:
    """The set-up, first and steady step of a timeline.

    `heirs` are pairs of names: what a steady step leaves under the first is freed by the next under the second.
    `leftovers` are names that no later step frees.

    Args:
        workspace_bytes: of one cuBLAS workspace; two are born in the first step.
    """

    def __init__(self, timeline: Timeline, workspace_bytes: int = 0) -> None:
        heirs, leftovers = inheritance(timeline)
        highest = int(timeline.mem_storage.max(initial=0))
        self._aside = highest + 1
        steady = timeline.mem_step == 2
        dying = timeline.mem_storage[steady & ~timeline.mem_alloc]
        self._lasting = np.setdiff1d(timeline.mem_storage[steady & timeline.mem_alloc], dying)
        self.slots = 2 * (highest + 1) + 2
        self._workspaces = (self.slots - 2, self.slots - 1)
        self.heirs = list(heirs.items())
        self.leftovers = leftovers
        self._timeline = timeline
        self._polynomials = Polynomials(timeline)
        self._workspace_units = -(-workspace_bytes // UNIT)
        self.set_up = self._events(*self._chosen(0)[:2])
        self.first = self._stretches(1)
        self.steady = self._stretches(2)

    def units(self, shapes: Sequence[Shape]) -> Ints:
        """[L, sizes] units of a block for each size at each shape, rounded as the allocator does; 0 stays 0.

        All shapes have the same number of samples.
        """
        lengths = np.array([shape.length for shape in shapes])
        targets = np.array([shape.target for shape in shapes])
        found = np.rint(self._polynomials.at(shapes[0].batch, lengths, targets)).astype(np.int64)
        found = -(-found // UNIT)
        found[:, -1] = self._workspace_units
        return found

    def _chosen(self, step: int) -> tuple[Ints, Ints, Ints, Ints, Ints]:
        """Names, sizes, phases, whether gradients are born, and positions of a step's events."""
        line = self._timeline
        chosen = (line.mem_step == step) & (line.mem_category != _PAGED)
        alloc = line.mem_alloc[chosen]
        size = np.where(alloc, line.mem_poly[chosen], _DEATH)
        gradient = (line.mem_category[chosen] == _GRADIENTS) & alloc
        columns: list[Ints] = [
            line.mem_storage[chosen],
            size,
            line.mem_phase[chosen],
            gradient.astype(np.int64),
            line.mem_at[chosen],
        ]
        if step == 1 and self._workspace_units:
            for slot, phase in zip(self._workspaces, ((_FORWARD, _LOSS), (_BACKWARD,)), strict=True):
                first = first_product(line, 1, phase)
                if first is not None:
                    where = int(np.searchsorted(columns[-1], first))
                    # the last column of the units holds the workspace
                    row = (slot, self._polynomials.count, phase[0], 0, first)
                    columns = [_inserted(part, where, value) for part, value in zip(columns, row, strict=True)]
        slots, sizes, phases, born, at = columns
        return slots, sizes, phases, born, at

    def _stretches(self, step: int) -> Stretches:
        slots, size, phases, gradient, _ = self._chosen(step)
        inside = np.flatnonzero(np.isin(phases, (_FORWARD, _LOSS, _BACKWARD)))
        start, end = (int(inside[0]), int(inside[-1]) + 1) if inside.size else (0, 0)

        def part(a: int, b: int) -> Events:
            return self._events(slots[a:b], size[a:b])

        further = self._accumulated(slots[start:end], size[start:end], gradient[start:end])
        return Stretches(part(0, start), part(start, end), further, part(end, len(slots)))

    def _accumulated(self, slots: Ints, size: Ints, gradient: Ints) -> Events:
        """A micro-batch whose gradients are added to those that are there: each lives until the next one is born."""
        own = set(slots[gradient > 0].tolist())
        names: list[int] = []
        sizes: list[int] = []
        transient: int | None = None
        for slot, kind, is_gradient in zip(slots.tolist(), size.tolist(), gradient.tolist(), strict=True):
            name = slot + self._aside if slot in own else slot
            if is_gradient:
                if transient is not None:
                    names.append(transient)
                    sizes.append(_DEATH)
                transient = name
            names.append(name)
            sizes.append(kind)
        if transient is not None:
            names.append(transient)
            sizes.append(_DEATH)
        return self._events(np.array(names, dtype=np.int64), np.array(sizes, dtype=np.int64))

    def _events(self, slots: Ints, size: Ints) -> Events:
        born: dict[int, int] = {}
        born_at = np.full(len(slots), -1, dtype=np.int64)
        for position, (slot, kind) in enumerate(zip(slots.tolist(), size.tolist(), strict=True)):
            if kind < 0:
                born_at[position] = born.pop(slot, -1)
            else:
                born[slot] = position
        return Events(slots, size, born_at, np.isin(slots, self._lasting))


def _inserted(part: Ints, where: int, value: int) -> Ints:
    return np.asarray(np.insert(part, where, value), dtype=part.dtype)
