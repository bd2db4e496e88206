"""From recordings at a few shapes to one Trace: sizes become polynomials, the stream becomes parts by layer."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from advisor.domain.trace.expand import merged, reach
from advisor.domain.trace.pieces import OF_TARGETS, tokens_in_piece
from advisor.domain.trace.trace_schema import ALLOC, CATEGORIES, FREE, OP_CLASSES, Part, Poly, Repeat, Share, Term
from advisor.tracer.dispatch_recorder import Event, Home, StorageRecord
from advisor.tracer.record_step import BatchShape, Recording

MONOMIALS: tuple[tuple[int, int, int], ...] = (
    *((b, s, t) for b, s, t in itertools.product((0, 1), (0, 1, 2), (0, 1, 2)) if s + t <= 2),
    (2, 0, 0),
)
"""Powers of B, S and T that a size may have. B squared: Pixtral's tower masks pictures of a batch from each other."""
_MOST_TERMS = 3


class Unresolved(Exception):
    """More shapes are needed to tell a size's polynomial."""


class Irregular(Exception):
    """The stream differs between shapes or layers in a way that cannot be expressed; says where."""


class Polys:
    """Finds the polynomial through a size's values at the recorded shapes, and keeps each once."""

    def __init__(self, shapes: Sequence[BatchShape]) -> None:
        self.shapes = shapes
        at = np.array([[s.batch, s.length, max(s.target, 1)] for s in shapes], dtype=float)
        self.columns = np.array([at[:, 0] ** b * at[:, 1] ** s * at[:, 2] ** t for b, s, t in MONOMIALS])
        self.found: list[Poly] = []
        self._index: dict[tuple[object, ...], int] = {}
        self._known: dict[tuple[int, ...], Poly] = {}
        self.shares: list[Share] = []

    def index(
        self, terms: Sequence[tuple[int, ...]], shares: tuple[tuple[str, int, tuple[int, ...], int], ...] = ()
    ) -> int:
        """The index of the sum of polynomials through each of `terms`, -1 for zero; `shares` are per-layer values."""
        poly = merged([term for values in terms for term in self.poly(values)])
        if not poly and not shares:
            return -1
        key = (poly, shares)
        if key not in self._index:
            self._index[key] = len(self.found)
            for stack, layer, adds, tensors in shares:
                self.shares.append(
                    Share(poly=len(self.found), stack=stack, layer=layer, adds=self.poly(adds), tensors=tensors)
                )
            self.found.append(poly)
        return self._index[key]

    def poly(self, values: tuple[int, ...]) -> Poly:
        """The polynomial of fewest terms that passes through every value exactly.

        Raises:
            Unresolved: none of at most three terms does, or too few shapes to tell.
        """
        if not any(values):
            return ()
        if values not in self._known:
            self._known[values] = self._solve(np.array(values, dtype=float))
        return self._known[values]

    def of_pieces(self, buffers: Sequence[tuple[tuple[int, int, int], int]]) -> int:
        """The index of a buffer's size, of which each recording tells kind, size and tokens of a piece, and bytes.

        Raises:
            Irregular: the bytes are not those of one piece at every shape.
        """
        (kind, size, tokens), held = buffers[0]
        first = self.shapes[0]
        less = (first.target if kind == OF_TARGETS else first.length) - tokens / first.batch
        width = held / tokens_in_piece(kind, size, tokens)
        for (_, _, here), wanted in buffers:
            if not np.isclose(width * tokens_in_piece(kind, size, here), wanted):
                raise Irregular(f"a buffer of {wanted} bytes for one piece of {here} tokens, of {held} for {tokens}")
        term = (_clean(width), kind, size, round(less))
        key = ((term,), ())
        if key not in self._index:
            self._index[key] = len(self.found)
            self.found.append((term,))
        return self._index[key]

    def _solve(self, values: np.ndarray) -> Poly:
        for column, powers in zip(self.columns, MONOMIALS, strict=True):
            coefficient = values[0] / column[0]
            if np.allclose(coefficient * column, values, rtol=1e-9, atol=0.01):
                return ((_clean(coefficient), *powers),)
        shifted = self._shifted(values)
        if shifted is not None:
            return shifted
        for terms in range(2, _MOST_TERMS + 1):
            if len(self.shapes) <= terms:
                raise Unresolved
            for chosen in itertools.combinations(range(len(MONOMIALS)), terms):
                matrix = self.columns[list(chosen)].T
                solution, *_ = np.linalg.lstsq(matrix, values, rcond=None)
                if np.allclose(matrix @ solution, values, rtol=1e-9, atol=0.5):
                    picked: list[Term] = [(_clean(c), *MONOMIALS[i]) for i, c in zip(chosen, solution, strict=True)]
                    return tuple(picked)
        raise Unresolved(tuple(values))

    def _shifted(self, values: np.ndarray) -> Poly | None:
        """c * B^b * L^i * (L+k)^j with whole c and k: lengths grown by virtual tokens, a shift, a padded end.

        Two unknowns that must both come out whole, so two shapes suffice to tell.
        """
        for (b, i, j), axis in itertools.product(_SHIFTED, ("length", "target")):
            lengths = np.array([getattr(s, axis) for s in self.shapes], dtype=float)
            batches = np.array([s.batch for s in self.shapes], dtype=float)
            rest = (values / (batches**b * lengths**i)) ** (1 / j)
            slope = (rest[1] - rest[0]) / (lengths[1] - lengths[0]) if lengths[1] != lengths[0] else 0.0
            if slope <= 0:
                continue
            k = rest[0] / slope - lengths[0]
            c = slope**j
            if abs(k - round(k)) > 1e-6 or abs(c - round(c)) > 1e-6 or not 0 < abs(round(k)) <= _MOST_SHIFT:
                continue
            k, c = float(round(k)), float(round(c))
            if np.allclose(c * batches**b * lengths**i * (lengths + k) ** j, values, rtol=1e-12, atol=1e-3):
                terms = [(c * factor, power) for power, factor in _binomial(j, k)]
                if axis == "length":
                    return tuple((factor, b, i + power, 0) for factor, power in terms)
                return tuple((factor, b, 0, i + power) for factor, power in terms)
        return None


_SHIFTED = ((1, 0, 1), (1, 0, 2), (1, 1, 1), (0, 0, 1), (0, 0, 2), (0, 1, 1))
_MOST_SHIFT = 4096


def _binomial(power: int, k: float) -> list[tuple[int, float]]:
    return [(1, 1.0), (0, k)] if power == 1 else [(2, 1.0), (1, 2 * k), (0, k * k)]


def _clean(coefficient: float) -> float:
    nearest = round(coefficient)
    return float(nearest) if abs(coefficient - nearest) < 1e-6 * max(1.0, abs(coefficient)) else float(coefficient)


@dataclass(slots=True)
class Compiled:
    """The fields of a Trace that come from the recordings."""

    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    polys: tuple[Poly, ...]
    shares: tuple[Share, ...]
    storages: tuple[tuple[int, int, int], ...]
    stacks: tuple[str, ...]
    parts: tuple[Part, ...]


def compile_recordings(recordings: Sequence[Recording]) -> Compiled:
    """One compiled stream from recordings of the same recipe and depth at different shapes.

    Raises:
        Unresolved: a size needs more shapes.
        Irregular: the recordings do not have the same events.
    """
    first = recordings[0]
    for other in recordings[1:]:
        _same_structure(first, other)
    events = _owned(first.events, first.storages)
    polys = Polys([r.shape for r in recordings])
    names: dict[str, int] = {}
    dtypes: dict[str, int] = {}
    stacks = tuple(first.depths)
    parts: list[tuple[tuple[int, str, Home], list[tuple[int, ...]]]] = []
    for number, (event, home) in enumerate(events):
        if event.kind == ALLOC:
            row = (ALLOC, event.storage, _size_index(polys, recordings, event.storage))
        elif event.kind == FREE:
            row = (FREE, event.storage)
        else:
            row = _op_row(polys, recordings, number, event, names, dtypes)
        where = (event.step, event.phase, home if home and home[0] in first.depths else None)
        if not parts or parts[-1][0] != where:
            parts.append((where, []))
        parts[-1][1].append(row)
    _order_deaths(parts, first.storages)
    return Compiled(
        names=tuple(names),
        dtypes=tuple(dtypes),
        polys=tuple(polys.found),
        shares=tuple(polys.shares),
        storages=tuple(_storage_row(s, stacks) for s in first.storages),
        stacks=stacks,
        parts=tuple(
            Part.model_construct(
                step=step, phase=phase, stack=home[0] if home else None, layer=home[1] if home else None,
                events=tuple(rows),
            )  # pyright: ignore
            for (step, phase, home), rows in parts
        ),
    )  # fmt: skip


def _order_deaths(
    parts: list[tuple[tuple[int, str, Home], list[tuple[int, ...]]]], storages: Sequence[StorageRecord]
) -> None:
    """Deaths in a row happen at one moment, in an order that follows addresses: put them in one that does not."""
    for (_, _, home), rows in parts:
        layer = home[1] if home else 0

        def key(row: tuple[int, ...], layer: int = layer) -> tuple[int, ...]:
            owner = storages[row[1]].home
            return (owner is None, owner[1] - layer if owner else 0, storages[row[1]].born_step, row[1])

        at = 0
        while at < len(rows):
            end = at
            while end < len(rows) and rows[end][0] == FREE:
                end += 1
            if end - at > 1:
                rows[at:end] = sorted(rows[at:end], key=key)
            at = max(end, at + 1)


def _storage_row(storage: StorageRecord, stacks: tuple[str, ...]) -> tuple[int, int, int]:
    home = storage.home if storage.home and storage.home[0] in stacks else None
    category = CATEGORIES.index(storage.category)  # pyright: ignore
    return category, stacks.index(home[0]) if home else -1, home[1] if home else -1


def _same_structure(first: Recording, other: Recording) -> None:
    if len(first.events) != len(other.events):
        raise Irregular(f"{len(first.events)} events at {first.shape}, {len(other.events)} at {other.shape}")
    for number, (a, b) in enumerate(zip(first.events, other.events, strict=True)):
        if (a.kind, a.step, a.phase, a.home, a.storage, a.name) != (b.kind, b.step, b.phase, b.home, b.storage, b.name):
            raise Irregular(
                f"event {number} is {a.name or a.kind} at {first.shape}, {b.name or b.kind} at {other.shape}"
            )


def _owned(events: Sequence[Event], storages: Sequence[StorageRecord]) -> list[tuple[Event, Home]]:
    """Events with the layer that answers for them.

    What dies as a layer returns belongs to that layer; what happens between two layers otherwise (a sum of
    gradients) to the layer that follows, so that every layer's stretch has the same form; any other death outside
    a layer to the storage's own.
    """
    homes: list[Home] = [event.home for event in events]
    pending: list[int] = []
    previous: Home = None
    where: tuple[int, str] | None = None
    for number, event in enumerate(events):
        if (event.step, event.phase) != where:
            pending, previous, where = [], None, (event.step, event.phase)
        if event.phase not in ("forward", "backward"):
            continue
        home = homes[number]
        if home is None and event.kind == FREE and event.phase == "forward" and previous is not None and not pending:
            homes[number] = previous
            continue
        if home is None:
            pending.append(number)
            continue
        if previous is not None and previous[0] == home[0]:
            for waiting in pending:
                homes[waiting] = home
        pending, previous = [], home
    _settle_passing(events, homes, storages)
    for number, event in enumerate(events):
        if homes[number] is None and event.kind == FREE:
            homes[number] = storages[event.storage].home
    return list(zip(events, homes, strict=True))


def _settle_passing(events: Sequence[Event], homes: list[Home], storages: Sequence[StorageRecord]) -> None:
    """A loop over layers in the optimizer's phase: its variable dies in the next layer's turn, and belongs to that."""
    previous: Home = None
    waiting: list[int] = []
    for number, event in enumerate(events):
        if event.kind == FREE and event.phase == "optimizer" and homes[number] is None:
            born = storages[event.storage]
            if previous is not None and (born.born_phase, born.born_step) == (event.phase, event.step):
                waiting.append(number)
            continue
        if homes[number] == previous and event.phase == "optimizer":
            for death in waiting:
                homes[death] = previous
        waiting, previous = [], homes[number]


def _size_index(polys: Polys, recordings: Sequence[Recording], storage: int) -> int:
    entries = [r.storages[storage] for r in recordings]
    if entries[0].piece is not None:
        return polys.of_pieces([(e.piece or entries[0].piece, e.size) for e in entries])
    shares = tuple(
        (home[0], home[1], tuple(e.parts.get(home, 0) for e in entries), 0)
        for home in entries[0].parts
        if home[0] in recordings[0].depths
    )
    return polys.index([tuple(e.size for e in entries)], shares)


def _op_row(
    polys: Polys,
    recordings: Sequence[Recording],
    number: int,
    event: Event,
    names: dict[str, int],
    dtypes: dict[str, int],
) -> tuple[int, ...]:
    same = [r.events[number] for r in recordings]
    shares: tuple[tuple[str, int, tuple[int, ...], int], ...] = ()
    if event.shares:
        shares = tuple(
            (home[0], home[1], tuple((e.shares or {}).get(home, (0, 0))[0] for e in same), count)
            for home, (_, count) in event.shares.items()
            if home[0] in recordings[0].depths
        )
    name = names.setdefault(event.name, len(names))
    dtype = dtypes.setdefault(event.dtype, len(dtypes))
    return (
        2,
        name,
        OP_CLASSES.index(event.op_class),  # pyright: ignore
        dtype,
        polys.index([tuple(e.flop for e in same)]),
        polys.index(list(zip(*(e.traffic for e in same), strict=True)), shares),
        event.kernels,
    )


def plan_repeats(
    compiled: Compiled, full: dict[str, int], traced: dict[str, int], periods: dict[str, int]
) -> tuple[Repeat, ...]:
    """How each cut stack grows to its true depth; the copied period must equal the one that follows it.

    All by the stack: `full` layers, `traced` ones, and the period in which they repeat.

    Raises:
        Irregular: two neighbouring periods differ, so copying would be a guess.
    """
    repeats: list[Repeat] = []
    for stack, layers in traced.items():
        period = periods[stack]
        extra, rest = divmod(full[stack] - layers, period)
        if rest:
            raise Irregular(f"{stack}: {full[stack]} layers are not {layers} and whole periods of {period}")
        # in the middle; after a layer of each kind, whose backward pass ends what all of its kind share
        start = max(period if period > 1 else 0, (layers - 2 * period) // 2)
        repeats.append(Repeat(stack=stack, first=start, period=period, extra=extra))
        _refuse_far_references(compiled, repeats[-1])
        for offset in range(period):
            here, there = start + offset, start + period + offset
            if _relative(compiled, stack, here) != _relative(compiled, stack, there):
                raise Irregular(f"{stack}: layers {here} and {there} do not run the same events")
    return tuple(repeats)


def _refuse_far_references(compiled: Compiled, repeat: Repeat) -> None:
    """A copied layer must not touch layers far from it: its copies would touch the same ones again."""
    names = local_names(compiled.parts)
    for part in compiled.parts:
        if part.stack != repeat.stack or part.layer is None:
            continue
        if not repeat.first <= part.layer < repeat.first + repeat.period:
            continue
        for row in part.events:
            owner = names[row[1]] if row[0] == FREE else None
            if owner and owner[2] == repeat.stack and abs((owner[3] or 0) - part.layer) >= reach(repeat):
                raise Irregular(f"{repeat.stack}: layer {part.layer} ends what layer {owner[3]} began")


def local_names(compiled_parts: Sequence[Part]) -> dict[int, tuple[int, str, str | None, int | None, int]]:
    """storage -> (step, phase, stack, layer, number within): the same in every like layer."""
    counts: dict[tuple[int, str, str | None, int | None], int] = {}
    names: dict[int, tuple[int, str, str | None, int | None, int]] = {}
    for part in compiled_parts:
        where = (part.step, part.phase, part.stack, part.layer)
        for row in part.events:
            if row[0] == ALLOC:
                number = counts.get(where, 0)
                counts[where] = number + 1
                names[row[1]] = (*where, number)
    return names


def _relative(compiled: Compiled, stack: str, layer: int) -> list[tuple[object, ...]]:
    """A layer's whole stream with storages named relative to the layer."""
    names = local_names(compiled.parts)
    out: list[tuple[object, ...]] = []
    for part in compiled.parts:
        if part.stack != stack or part.layer != layer:
            continue
        for row in part.events:
            if row[0] in (ALLOC, FREE):
                step, phase, owner, at, number = names[row[1]]
                relative = at - layer if owner == stack and at is not None else at
                out.append((row[0], step, phase, owner, relative, number, *row[2:]))
            else:
                out.append(row)
        out.append((part.step, part.phase))
    return out
