"""Unrolls a compact Trace to its true depth, event by event."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from advisor.domain.trace.timeline import Ints, Timeline
from advisor.domain.trace.trace_schema import (
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


_LAYERS = 2**20
"""More layers than any stack has: a storage's birth place and layer make one whole number."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """A part's events as columns, each with its position in the part.

    Memory events name their storage by `place`, its birth's number times _LAYERS plus its layer, which moves with the
    part's own layer where `near` says so.
    """

    count: int
    mem: Ints
    near: NDArray[np.bool_]
    op: Ints


class _Expansion:
    def __init__(self, trace: Trace, polys: tuple[Poly, ...], tensors: dict[int, int]) -> None:
        self.trace = trace
        self.polys = polys
        self.tensors = tensors
        self.repeats = {r.stack: r for r in trace.repeats}
        self.births: dict[tuple[int, str, str | None, int], int] = {}
        self.born_at: dict[int, tuple[int, str | None, int | None]] = {}
        self._name_storages()
        self.rows: dict[int, _Rows] = {}

    def _name_storages(self) -> None:
        """Each storage's birth: the number of (step, phase, stack, how manieth of its layer), its stack and layer."""
        counts: dict[tuple[int, str, str | None, int | None], int] = {}
        for part in self.trace.parts:
            where = (part.step, part.phase, part.stack, part.layer)
            for row in part.events:
                if row[0] == ALLOC:
                    number = counts.get(where, 0)
                    counts[where] = number + 1
                    birth = (part.step, part.phase, part.stack, number)
                    self.born_at[row[1]] = (self.births.setdefault(birth, len(self.births)), part.stack, part.layer)

    def timeline(self) -> Timeline:
        mems: list[Ints] = []
        ops: list[Ints] = []
        units: list[tuple[int, int, int]] = []
        at = 0
        for part, real in self._ordered():
            rows = self._rows(part)
            shift = 0 if real is None or part.layer is None else real - part.layer
            mem = rows.mem.copy()
            mem[:, 0] += at
            mem[rows.near, 1] += shift
            op = rows.op.copy()
            op[:, 0] += at
            mems.append(mem)
            ops.append(op)
            units.append((self._unit(part, real), len(mem), len(op)))
            at += rows.count
        unit, of_mem, of_op = (np.array(column, dtype=np.int64) for column in zip(*units or [(-1, 0, 0)], strict=True))
        mem = np.concatenate(mems) if mems else np.zeros((0, 7), dtype=np.int64)
        op = np.concatenate(ops) if ops else np.zeros((0, 9), dtype=np.int64)
        return Timeline(
            polys=self.polys,
            names=self.trace.names,
            dtypes=self.trace.dtypes,
            mem_at=mem[:, 0],
            mem_storage=_numbered(mem[:, 1], mem[:, 2].astype(bool)),
            mem_alloc=mem[:, 2].astype(bool),
            mem_poly=mem[:, 3],
            mem_phase=mem[:, 4],
            mem_category=mem[:, 5],
            mem_step=mem[:, 6],
            mem_unit=np.repeat(unit, of_mem),
            op_at=op[:, 0],
            op_name=op[:, 1],
            op_class=op[:, 2],
            op_dtype=op[:, 3],
            op_flop=op[:, 4],
            op_bytes=op[:, 5],
            op_kernels=op[:, 6],
            op_phase=op[:, 7],
            op_step=op[:, 8],
            op_unit=np.repeat(unit, of_op),
        )

    def _unit(self, part: Part, real: int | None) -> int:
        """The layer as one number, -1 outside any."""
        if part.stack is None or real is None:
            return -1
        return self.trace.stacks.index(part.stack) * _LAYERS + real

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

    def _rows(self, part: Part) -> _Rows:
        """The part's events, worked out once however often it is copied."""
        known = self.rows.get(id(part))
        if known is not None:
            return known
        phase = PHASES.index(part.phase)
        mem: list[tuple[int, ...]] = []
        near: list[bool] = []
        op: list[tuple[int, ...]] = []
        for at, row in enumerate(part.events):
            if row[0] == OP:
                kernels = row[6]
                if kernels < 0:
                    kernels = -(-(-kernels + self.tensors.get(row[5], 0)) // FOREACH_CHUNK)
                op.append((at, row[1], row[2], row[3], row[4], row[5], kernels, phase, part.step))
            else:
                born = row[0] == ALLOC
                place, moves = self._place(row[1], part)
                category = self.trace.storages[row[1]][0]
                mem.append((at, place, born, row[2] if born else -1, phase, category, part.step))
                near.append(moves)
        rows = self.rows[id(part)] = _Rows(
            count=len(part.events),
            mem=np.array(mem, dtype=np.int64).reshape(-1, 7),
            near=np.array(near, dtype=bool),
            op=np.array(op, dtype=np.int64).reshape(-1, 9),
        )
        return rows

    def _place(self, traced: int, part: Part) -> tuple[int, bool]:
        """Where a storage was born, and whether that moves with the part's layer: as seen from the traced layer."""
        birth, stack, layer = self.born_at[traced]
        repeat = self.repeats.get(stack) if stack is not None else None
        if repeat is None or layer is None:
            return birth * _LAYERS + (-1 if layer is None else layer) + 1, False
        if part.stack == stack and part.layer is not None and abs(layer - part.layer) < reach(repeat):
            return birth * _LAYERS + layer + 1, True
        return birth * _LAYERS + self._real(repeat, layer) + 1, False


def _numbered(places: Ints, born: NDArray[np.bool_]) -> Ints:
    """[M] storages numbered by birth.

    Raises:
        KeyError: a storage dies that was never born.
    """
    order = np.argsort(places[born], kind="stable")
    known = places[born][order]
    at = np.minimum(np.searchsorted(known, places), max(0, known.size - 1))
    if places.size and (not known.size or not np.array_equal(known[at], places)):
        lost = places[0] if not known.size else places[known[at] != places][0]
        raise KeyError(f"storage born as number {lost // _LAYERS} in layer {lost % _LAYERS - 1} is not in the trace")
    return order[at]


def alive_at_end(timeline: Timeline) -> set[int]:
    """Storages born and never freed."""
    born = set(timeline.mem_storage[timeline.mem_alloc].tolist())
    return born - set(timeline.mem_storage[~timeline.mem_alloc].tolist())


__all__ = ["ALLOC", "CATEGORIES", "FREE", "alive_at_end", "expand"]
