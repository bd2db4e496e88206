"""Unrolls a compact Trace to its true depth, event by event."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from advisor.domain.timeline import Timeline
from advisor.domain.trace import (
    ALLOC,
    CATEGORIES,
    FOREACH_CHUNK,
    FREE,
    OP,
    PHASES,
    Part,
    Poly,
    Repeat,
    Term,
    Trace,
)

Name = tuple[int, str, str | None, int | None, int]
"""A storage by birth: step, phase, stack, layer, number within those."""


def expand(trace: Trace) -> Timeline:
    """The flat timeline of a trace at its full depth.

    Raises:
        KeyError: the trace refers to a layer its repeats cannot reach (a damaged trace).
    """
    polys, kernels = _grown_polys(trace)
    return _Expansion(trace, polys, kernels).timeline()


def _grown_polys(trace: Trace) -> tuple[tuple[Poly, ...], dict[int, int]]:
    """Polys with the shares of copied layers added, and per poly the tensors that copies add."""
    if not trace.repeats or not trace.shares:
        return trace.polys, {}
    grown = [list(poly) for poly in trace.polys]
    tensors: dict[int, int] = {}
    for share in trace.shares:
        for repeat in trace.repeats:
            inside = repeat.first <= share.layer < repeat.first + repeat.period
            if share.stack == repeat.stack and inside and repeat.extra:
                grown[share.poly].extend((c * repeat.extra, b, s, t) for c, b, s, t in share.adds)
                tensors[share.poly] = tensors.get(share.poly, 0) + share.tensors * repeat.extra
    return tuple(merged(terms) for terms in grown), tensors


def merged(terms: Sequence[Term]) -> Poly:
    """The same polynomial with each power once, in order."""
    sums: dict[tuple[int, int, int], float] = {}
    for c, b, s, t in terms:
        sums[b, s, t] = sums.get((b, s, t), 0.0) + c
    return tuple((c, b, s, t) for (b, s, t), c in sorted(sums.items()) if c)


def reach(repeat: Repeat) -> int:
    """How far apart two layers may lie for one to mean the other by its distance; farther ones are meant as such."""
    return 2 * repeat.period


class _Expansion:
    def __init__(self, trace: Trace, polys: tuple[Poly, ...], tensors: dict[int, int]) -> None:
        self.trace = trace
        self.polys = polys
        self.tensors = tensors
        self.repeats = {r.stack: r for r in trace.repeats}
        self.names: dict[int, Name] = {}
        self._name_storages()
        self.by_name: dict[Name, int] = {name: number for number, name in self.names.items()}
        self.ids: dict[Name, int] = {}
        self.category: list[int] = []
        self.rows_mem: list[tuple[int, int, bool, int, int, int, int]] = []
        self.rows_op: list[tuple[int, ...]] = []
        self.at = 0

    def _name_storages(self) -> None:
        counts: dict[tuple[int, str, str | None, int | None], int] = {}
        for part in self.trace.parts:
            where = (part.step, part.phase, part.stack, part.layer)
            for row in part.events:
                if row[0] == ALLOC:
                    number = counts.get(where, 0)
                    counts[where] = number + 1
                    self.names[row[1]] = (*where, number)

    def timeline(self) -> Timeline:
        for part, real in self._ordered():
            self._emit(part, real)
        mem = np.array(self.rows_mem, dtype=np.int64).reshape(-1, 7)
        ops = np.array(self.rows_op, dtype=np.int64).reshape(-1, 9)
        return Timeline(
            polys=self.polys,
            names=self.trace.names,
            dtypes=self.trace.dtypes,
            mem_at=mem[:, 0],
            mem_storage=mem[:, 1],
            mem_alloc=mem[:, 2].astype(bool),
            mem_poly=mem[:, 3],
            mem_phase=mem[:, 4],
            mem_category=mem[:, 5],
            mem_step=mem[:, 6],
            op_at=ops[:, 0],
            op_name=ops[:, 1],
            op_class=ops[:, 2],
            op_dtype=ops[:, 3],
            op_flop=ops[:, 4],
            op_bytes=ops[:, 5],
            op_kernels=ops[:, 6],
            op_phase=ops[:, 7],
            op_step=ops[:, 8],
        )

    # --- order: copies go after their period when layers rise, before it when they fall ---------------

    def _ordered(self) -> Iterator[tuple[Part, int | None]]:
        """Each part with its real layer, copies included, in the order they would run."""
        parts = self.trace.parts
        at = 0
        while at < len(parts):
            part = parts[at]
            repeat = self.repeats.get(part.stack) if part.stack is not None else None
            if repeat is None or part.layer is None:
                yield part, part.layer
                at += 1
                continue
            end = self._run_end(at, repeat)
            if end == at:
                yield part, self._real(repeat, part.layer)
                at += 1
                continue
            block = parts[at:end]
            copies = range(1, repeat.extra + 1)
            if self._falls(at, end, repeat):
                for copy in reversed(copies):
                    yield from ((p, p.layer + copy * repeat.period) for p in block if p.layer is not None)
                yield from ((p, p.layer) for p in block)
            else:
                yield from ((p, p.layer) for p in block)
                for copy in copies:
                    yield from ((p, p.layer + copy * repeat.period) for p in block if p.layer is not None)
            at = end

    def _run_end(self, at: int, repeat: Repeat) -> int:
        """The end of the stretch of parts from `at` that lie in the copied period of one step and phase."""
        first = self.trace.parts[at]
        end = at
        while end < len(self.trace.parts):
            part = self.trace.parts[end]
            inside = part.layer is not None and repeat.first <= part.layer < repeat.first + repeat.period
            if part.stack != repeat.stack or not inside or (part.step, part.phase) != (first.step, first.phase):
                break
            end += 1
        return end

    def _falls(self, at: int, end: int, repeat: Repeat) -> bool:
        """Whether layers are visited from last to first here, told by the neighbours."""
        parts = self.trace.parts
        here = (parts[at].step, parts[at].phase)
        for near, inner, sign in ((at - 1, at, 1), (end, end - 1, -1)):
            if 0 <= near < len(parts):
                other, mine = parts[near], parts[inner]
                if other.stack == repeat.stack and (other.step, other.phase) == here and other.layer is not None:
                    return (other.layer - (mine.layer or 0)) * sign > 0
        layers = [p.layer for p in parts[at:end] if p.layer is not None]
        if len(set(layers)) > 1:
            return layers[0] > layers[-1]
        return here[1] == "backward"

    @staticmethod
    def _real(repeat: Repeat, layer: int) -> int:
        return layer if layer < repeat.first + repeat.period else layer + repeat.extra * repeat.period

    # --- events ---------------------------------------------------------------------------------------

    def _emit(self, part: Part, real: int | None) -> None:
        phase = PHASES.index(part.phase)
        for row in part.events:
            if row[0] == OP:
                kernels = row[6]
                if kernels < 0:
                    kernels = -(-(-kernels + self.tensors.get(row[5], 0)) // FOREACH_CHUNK)
                self.rows_op.append((self.at, row[1], row[2], row[3], row[4], row[5], kernels, phase, part.step))
            else:
                number = self._storage(row[1], part, real, born=row[0] == ALLOC)
                born = row[0] == ALLOC
                poly = row[2] if born else -1
                self.rows_mem.append((self.at, number, born, poly, phase, self.category[number], part.step))
            self.at += 1

    def _storage(self, traced: int, part: Part, real: int | None, *, born: bool) -> int:
        """The expanded id of a traced storage, as seen from the layer `real`."""
        step, phase, stack, layer, number = self.names[traced]
        target = layer
        repeat = self.repeats.get(stack) if stack is not None else None
        if repeat is not None and layer is not None:
            near = part.layer is not None and abs(layer - part.layer) < reach(repeat)
            if part.stack == stack and part.layer is not None and real is not None and near:
                target = real + (layer - part.layer)
            else:
                target = self._real(repeat, layer)
        name = (step, phase, stack, target, number)
        if born:
            self.ids[name] = len(self.category)
            self.category.append(self.trace.storages[traced][0])
        return self.ids[name]


def alive_at_end(timeline: Timeline) -> set[int]:
    """Storages born and never freed."""
    born = set(timeline.mem_storage[timeline.mem_alloc].tolist())
    return born - set(timeline.mem_storage[~timeline.mem_alloc].tolist())


__all__ = ["ALLOC", "CATEGORIES", "FREE", "alive_at_end", "expand"]
