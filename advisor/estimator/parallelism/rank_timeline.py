"""The timeline of one device turned into that of one rank: what is sharded shrinks, what is gathered comes and goes.

The step is the traced one; the order of gathers, copies, reductions and frees is that of the libraries' own code.
Sources: torch 2.13, torch/distributed/fsdp/_fully_shard/_fsdp_param_group.py and _fsdp_collectives.py;
torch/distributed/fsdp/_runtime_utils.py; accelerate 1.15, utils/fsdp_utils.py, fsdp2_prepare_model.
Left out: the padding of each parameter's rows to a multiple of the ranks (below a row a rank).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from advisor.domain.trace.timeline import Ints, Timeline
from advisor.domain.trace.trace_schema import CATEGORIES, PHASES, Poly
from advisor.estimator.parallelism.layout import RankLayout

ROOM: Final = 2**16
"""Places between two events of a trace: more than are ever inserted there."""
SMALL: Final = 12
"""A quantised base's scales are a sixteenth of its codes or less; what is so much smaller than its layer's largest
weight is taken for such."""
ROOT: Final = -1
HEAD: Final = -2
"""What comes after the last layer: the last norm and the head; ROOT is then what comes before the first."""

_WEIGHTS, _ADAPTER, _GRADIENTS, _STATES, _TEMPORARIES = (
    CATEGORIES.index(name) for name in ("base weights", "adapter", "gradients", "optimizer state", "temporaries")
)
_FORWARD, _LOSS, _BACKWARD, _CLIP, _OPTIMIZER = (
    PHASES.index(name) for name in ("forward", "loss", "backward", "clip", "optimizer")
)


@dataclass(frozen=True, slots=True)
class Units:
    """Bytes by unit, as traced: `whole` of its weights, `trained` of their gradients."""

    whole: dict[int, int]
    trained: dict[int, int]

    @property
    def all_trained(self) -> int:
        return sum(self.trained.values())


def units_of(timeline: Timeline, *, split_root: bool) -> Units:
    """Bytes of each layer's weights and gradients; those outside layers as ROOT, or as ROOT and HEAD."""
    born = timeline.bytes_of(1, 1, 1)
    whole: dict[int, int] = defaultdict(int)
    trained: dict[int, int] = defaultdict(int)
    weights = (timeline.mem_step == 0) & np.isin(timeline.mem_category, (_WEIGHTS, _ADAPTER)) & timeline.mem_alloc
    outside = 0
    for unit, size in zip(timeline.mem_unit[weights].tolist(), born[weights].tolist(), strict=True):
        if unit == ROOT:
            outside += 1
        # weights are listed in loading order: the embedding first, then the last norm and the head
        whole[HEAD if unit == ROOT and split_root and outside > 1 else unit] += size
    gradients = (timeline.mem_step == 1) & (timeline.mem_category == _GRADIENTS) & timeline.mem_alloc
    seen_layer = False
    for unit, size in zip(timeline.mem_unit[gradients].tolist(), born[gradients].tolist(), strict=True):
        seen_layer = seen_layer or unit != ROOT
        trained[HEAD if unit == ROOT and split_root and not seen_layer else unit] += size
    return Units(dict(whole), dict(trained))


@dataclass(slots=True)
class _Inserted:
    """Events of our own, each before or after an event of the trace; sizes become constant polys."""

    timeline: Timeline
    polys: list[Poly]
    storages: int
    known: dict[int, int] = field(default_factory=dict[int, int])
    rows: list[tuple[int, int, bool, int, int, int, int, int]] = field(
        default_factory=list[tuple[int, int, bool, int, int, int, int, int]]
    )
    used: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    def size(self, size: float) -> int:
        """The poly of a constant number of bytes."""
        whole = round(size)
        if whole not in self.known:
            self.known[whole] = len(self.polys)
            self.polys.append(((float(whole), 0, 0, 0),) if whole else ())
        return self.known[whole]

    def _put(self, index: int, after: bool, storage: int, alloc: bool, poly: int, category: int) -> None:
        start = int(self.timeline.mem_at[index]) * ROOM - (0 if after else ROOM // 2)
        self.used[start] += 1
        place = start + self.used[start]
        here = (
            int(self.timeline.mem_phase[index]),
            int(self.timeline.mem_step[index]),
            int(self.timeline.mem_unit[index]),
        )
        self.rows.append((place, storage, alloc, poly, here[0], category, here[1], here[2]))

    def born(self, index: int, size: float, category: int = _TEMPORARIES, *, after: bool = False) -> int:
        """A storage of `size` bytes born beside event `index`; its name."""
        self.storages += 1
        self._put(index, after, self.storages, True, self.size(size), category)
        return self.storages

    def dies(self, index: int, storage: int | None, category: int = _TEMPORARIES, *, after: bool = False) -> None:
        if storage is not None:
            self._put(index, after, storage, False, -1, category)


def rank_timeline(timeline: Timeline, layout: RankLayout) -> Timeline:
    """What one of `layout.shards` ranks does and holds, as a timeline to be replayed like any other."""
    return _Rank(timeline, layout).timeline()


class _Rank:
    def __init__(self, timeline: Timeline, layout: RankLayout) -> None:
        self.trace = timeline
        self.layout = layout
        self.units = units_of(timeline, split_root=not layout.whole_root)
        self.put = _Inserted(timeline, list(timeline.polys), int(timeline.mem_storage.max(initial=0)))
        self.poly: Ints = timeline.mem_poly.copy()
        self.category: Ints = timeline.mem_category.copy()
        self.kept = np.ones(len(timeline.mem_at), dtype=bool)
        self.scaled: dict[tuple[int, float], int] = {}
        self.shares: dict[int, int] = {}
        """A gradient as traced -> the reduced one that stands for it."""

    def timeline(self) -> Timeline:
        if self.layout.weights:
            self._shrink_weights()
        self._shrink_states()
        self._set_up()
        for step in (1, 2):
            events = np.flatnonzero(self.trace.mem_step == step)
            if not len(events):
                continue
            if self.layout.weights:
                self._gather(step)
            if self.layout.gradients:
                self._reduce(step)
        return self._merged()

    # --- what stays ------------------------------------------------------------------------------------

    def _shrink_weights(self) -> None:
        layout, trace = self.layout, self.trace
        adapters: dict[int, int] = defaultdict(int)
        born = trace.bytes_of(1, 1, 1)
        rows = np.flatnonzero(
            (trace.mem_step == 0) & np.isin(trace.mem_category, (_WEIGHTS, _ADAPTER)) & trace.mem_alloc
        )
        for row in rows.tolist():
            if trace.mem_category[row] == _ADAPTER:
                adapters[int(trace.mem_unit[row])] += int(born[row])
        whole, trained = _joined(self.units.whole), _joined(self.units.trained)
        largest: dict[int, int] = defaultdict(int)
        for row in rows.tolist():
            unit = int(trace.mem_unit[row])
            largest[unit] = max(largest[unit], int(born[row]))
        for row in rows.tolist():
            unit = int(trace.mem_unit[row])
            if layout.parts_whole and trace.mem_category[row] == _WEIGHTS and born[row] * SMALL < largest[unit]:
                continue
            base = whole[unit] - adapters[unit]
            share = min(1.0, max(0.0, (trained.get(unit, 0) - adapters[unit]) / base)) if base else 0.0
            if trace.mem_category[row] == _ADAPTER:
                share = 1.0
            scale = (1 - share + share * layout.trained_scale) / layout.shards
            self.poly[row] = self.put.size(float(born[row]) * scale)

    def _shrink_states(self) -> None:
        """The optimizer's state, and what it and clipping make for a moment, which is as large as a parameter."""
        if not self.layout.states:
            return
        trace, layout = self.trace, self.layout
        steps = np.isin(trace.mem_phase, (_CLIP, _OPTIMIZER)) & trace.mem_alloc
        for row in np.flatnonzero(steps).tolist():
            wide = max(layout.trained_scale, layout.master)
            scale = layout.state_scale if trace.mem_category[row] == _STATES else wide
            self.poly[row] = self._times(int(trace.mem_poly[row]), scale / layout.shards)

    def _times(self, poly: int, factor: float) -> int:
        if poly < 0:
            return poly
        if (poly, factor) not in self.scaled:
            self.scaled[poly, factor] = len(self.put.polys)
            self.put.polys.append(tuple((c * factor, b, s, t) for c, b, s, t in self.put.polys[poly]))
        return self.scaled[poly, factor]

    def _set_up(self) -> None:
        """Copies that lie there from the start: master weights, buckets."""
        layout = self.layout
        last = int(np.flatnonzero(self.trace.mem_step == 0)[-1]) if (self.trace.mem_step == 0).any() else 0
        trained = self.units.all_trained
        if layout.master:
            self.put.born(last, trained * layout.master / layout.shards, _STATES, after=True)
        if layout.copies_gradients:
            self.put.born(last, trained, CATEGORIES.index("buffers"), after=True)
        if layout.bucket_bytes:
            self.put.born(last, layout.bucket_bytes, CATEGORIES.index("buffers"), after=True)

    # --- what comes and goes ---------------------------------------------------------------------------

    def _visits(self, step: int, phases: tuple[int, ...]) -> list[tuple[int, int, int]]:
        """(unit, first event, last event) of each stretch of a step spent in one unit, what is outside layers included.

        A short stretch outside between two of one layer is that layer's: its hooks have not fired yet.
        """
        trace = self.trace
        events = np.flatnonzero((trace.mem_step == step) & np.isin(trace.mem_phase, phases))
        runs: list[tuple[int, int, int]] = []
        for event in events.tolist():
            unit = int(trace.mem_unit[event])
            if runs and runs[-1][0] == unit:
                runs[-1] = (unit, runs[-1][1], event)
            elif len(runs) > 1 and runs[-1][0] == ROOT and runs[-2][0] == unit:
                runs.pop()
                runs[-1] = (unit, runs[-1][1], event)
            else:
                runs.append((unit, event, event))
        if self.layout.whole_root:
            return runs
        layers = [number for number, run in enumerate(runs) if run[0] != ROOT]
        last, first = (layers[-1], layers[0]) if layers else (-1, 0)
        ahead = phases == (_BACKWARD,)
        return [
            (HEAD, start, end)
            if unit == ROOT and ((number < first) if ahead else (number > last and bool(layers)))
            else (unit, start, end)
            for number, (unit, start, end) in enumerate(runs)
        ]

    def _gathered(self, unit: int) -> int:
        return self.units.whole.get(unit, 0)

    def _gather(self, step: int) -> None:
        held = self._forward(step)
        self._backward(step, held)

    def _forward(self, step: int) -> dict[int, int]:
        """Gathers before each unit, frees after it; what is still gathered at the end."""
        put, layout = self.put, self.layout
        buffer: int | None = None
        held: dict[int, int] = {}
        last = 0
        for unit, start, end in self._visits(step, (_FORWARD, _LOSS)):
            last = end
            size = self._gathered(unit)
            if not size or unit in held:
                continue
            fresh: int | None = None
            if layout.gathered_apart:
                fresh = put.born(start, size)
            held[unit] = put.born(start, size)
            # wait_for_unshard lets go of the last unit's buffer, and yet names it until it returns
            put.dies(start, buffer)
            buffer = fresh
            if (layout.reshard and unit >= 0) or (unit == ROOT and not layout.whole_root):
                put.dies(end, held.pop(unit), after=True)
        put.dies(last, buffer, after=True)
        return held

    def _backward(self, step: int, held: dict[int, int]) -> None:
        """Each unit gathered once more, the next one fetched ahead."""
        put, layout = self.put, self.layout
        visits = self._visits(step, (_BACKWARD,))
        ahead: dict[int, int] = {}
        for number, (unit, start, end) in enumerate(visits):
            if unit not in held and self._gathered(unit):
                if layout.gathered_apart or unit not in ahead:
                    held[unit] = put.born(start, self._gathered(unit))
                    put.dies(start, ahead.pop(unit, None))
                else:
                    held[unit] = ahead.pop(unit)
            following = next((u for u, _, _ in visits[number + 1 :] if u not in held and u != unit), None)
            if following is not None and following not in ahead and self._gathered(following):
                ahead[following] = put.born(start, self._gathered(following))
            if unit != ROOT or not layout.whole_root or number == len(visits) - 1:
                put.dies(end, held.pop(unit, None), after=True)
        for storage in (*ahead.values(), *held.values()):
            put.dies(visits[-1][2], storage, after=True)

    def _reduce(self, step: int) -> None:
        """Whole gradients become this rank's share: after each unit's backward pass, or before the optimizer."""
        trace, put, layout = self.trace, self.put, self.layout
        gradients = (trace.mem_category == _GRADIENTS) & (trace.mem_step == step)
        by_unit: dict[int, list[int]] = defaultdict(list)
        visits = self._visits(step, (_BACKWARD,))
        inside, born = gradients & trace.mem_alloc, trace.bytes_of(1, 1, 1)
        for number, (_, start, end) in enumerate(visits):
            by_unit[number] = (np.flatnonzero(inside[start : end + 1]) + start).tolist()
        tail = next(self._tail(step), None)
        kept: int | None = None
        last = visits[-1][2] if visits else 0
        for number, rows in by_unit.items():
            if not rows:
                continue
            size = float(born[rows].sum())
            at, after = (visits[number][2], True) if layout.reduces_each or tail is None else (tail, False)
            put.dies(at, kept, after=after)
            scratch = put.born(at, size * layout.reduce_scale, after=after)
            for row in rows:
                if layout.reduces_each:
                    self.category[row] = _TEMPORARIES
                put.dies(at, int(trace.mem_storage[row]), int(self.category[row]), after=after)
            share = put.born(at, size * layout.trained_scale / layout.shards, _GRADIENTS, after=after)
            self.shares[int(trace.mem_storage[rows[0]])] = share
            kept = scratch if layout.keeps_input else None
            if kept is None:
                put.dies(at, scratch, after=after)
        put.dies(last if layout.reduces_each or tail is None else tail, kept, after=layout.reduces_each or tail is None)
        self._bury(np.flatnonzero(gradients & ~trace.mem_alloc).tolist())

    def _tail(self, step: int) -> Iterator[int]:
        trace = self.trace
        yield from np.flatnonzero((trace.mem_step == step) & np.isin(trace.mem_phase, (_CLIP, _OPTIMIZER))).tolist()

    def _bury(self, rows: list[int]) -> None:
        """Where a gradient as traced died, the reduced one that stands for it dies."""
        for row in rows:
            self.kept[row] = False
            share = self.shares.pop(int(self.trace.mem_storage[row]), None)
            self.put.dies(row, share, _GRADIENTS)

    # --- the result ------------------------------------------------------------------------------------

    def _merged(self) -> Timeline:
        trace, put = self.trace, self.put
        own = np.array(put.rows, dtype=np.int64).reshape(-1, 8)
        columns = (
            trace.mem_at * ROOM,
            trace.mem_storage,
            trace.mem_alloc.astype(np.int64),
            self.poly,
            trace.mem_phase,
            self.category,
            trace.mem_step,
            trace.mem_unit,
        )
        joined = [np.concatenate((mine[self.kept], own[:, i])) for i, mine in enumerate(columns)]
        order = np.argsort(joined[0], kind="stable")
        at, storage, alloc, poly, phase, category, step, unit = (column[order] for column in joined)
        scale = self.layout.trained_scale / self.layout.shards if self.layout.states else 1.0
        tail = np.isin(trace.op_phase, (_CLIP, _OPTIMIZER))
        flop, moved = trace.op_flop.copy(), trace.op_bytes.copy()
        for row in np.flatnonzero(tail).tolist() if scale != 1.0 else ():
            flop[row], moved[row] = self._times(int(flop[row]), scale), self._times(int(moved[row]), scale)
        return replace(
            trace,
            polys=tuple(put.polys),
            mem_at=at,
            mem_storage=storage,
            mem_alloc=alloc.astype(bool),
            mem_poly=poly,
            mem_phase=phase,
            mem_category=category,
            mem_step=step,
            mem_unit=unit,
            op_at=trace.op_at * ROOM,
            op_flop=flop,
            op_bytes=moved,
        )


def _joined(by_unit: dict[int, int]) -> dict[int, int]:
    """With HEAD counted to ROOT, as events name it."""
    return {**by_unit, ROOT: by_unit.get(ROOT, 0) + by_unit.get(HEAD, 0)}
