"""What the allocator reserves on a device: in a replay of the run, under the device's limit where it is asked.

Reserved memory is what the allocator has taken from the driver: blocks in use and cached ones. Where the limit is
hit it gives cached segments back before it fails, so a run fits if its replay under the limit ends.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from advisor.catalog.constants import load_constants
from advisor.domain.recipe import Recipe
from advisor.domain.trace.timeline import Timeline
from advisor.domain.units import gib
from advisor.estimator.batch_lengths import BatchLengths, Shape, batches_of
from advisor.estimator.memory.long_replay import LongReplay, replay_long
from advisor.estimator.memory.replay import Replay, peak_allocated, replay
from advisor.estimator.memory.step_program import StepProgram
from advisor.estimator.memory.timeline_memo import TimelineMemo


@dataclass(frozen=True, slots=True)
class MemoryQuestion:
    """A traced recipe, its batches, the bytes of a cuBLAS workspace, and the bytes the allocator may reserve."""

    timeline: Timeline
    lengths: BatchLengths
    recipe: Recipe
    workspace: int
    room: int | None = None

    @property
    def batches(self) -> tuple[Shape | str, ...]:
        return tuple(batches_of(self.lengths, self.recipe))

    @property
    def records(self) -> list[Shape]:
        """The batches that the allocator's cache grows at."""
        return [self.lengths.shape(float(length)) for length in self.lengths.rising]


@dataclass(frozen=True, slots=True)
class ReservedMemory:
    """Bytes: peak reserved, and its range where the order of the batches is not known. `notes`: what a user may see."""

    peak: int
    low: float
    high: float
    notes: tuple[str, ...] = ()


def reserved_memory(asked: MemoryQuestion, played: Replay) -> ReservedMemory:
    """Peak reserved bytes of a recipe; above the room exactly where it does not fit.

    Args:
        played: the replay without a limit, `unlimited_replay`.
    """
    if asked.recipe.expandable_segments:
        return _expandable(asked, played)
    return _long_training(asked, played) if _rises(asked) else _settled(asked, played)


def fits(asked: MemoryQuestion, room: int) -> bool:
    """Whether a recipe fits into so many bytes for the allocator: what `reserved_memory` would say, in less time."""
    asked = replace(asked, room=room)
    if asked.recipe.expandable_segments:
        return _fits_grown(asked, room)
    if not _rises(asked):
        return reserved_memory(asked, unlimited_replay(asked)).peak <= room
    accumulation = asked.recipe.gradient_accumulation
    quick = peak_allocated(
        asked.timeline, asked.lengths.largest, workspace_bytes=asked.workspace, accumulation=accumulation
    ).peak
    if quick * CLOSE > room and unlimited_replay(asked).peak_allocated > room:
        return False
    return _replayed_long(asked, room).failed is None


CLOSE: Final = 1.03
"""How far the quick peak may lie below the replayed one, whose blocks are not all split: at most 0.9 % on 37 of the
shipped traces, each at one sample of 512 tokens and at four of 2,000. It spares a replay and decides nothing: what
is closer is replayed."""


def _rises(asked: MemoryQuestion) -> bool:
    """Whether batches longer than all before follow on each other with a cache that is never emptied."""
    recipe = asked.recipe
    return not recipe.expandable_segments and recipe.trainer != "loop" and len(asked.lengths.rising) > 1


def _settled(asked: MemoryQuestion, played: Replay) -> ReservedMemory:
    """Batches of one length, or a cache that is emptied every few steps: a few steps are as good as many."""
    room = asked.room
    if room is None or played.peak_reserved <= room or played.peak_allocated > room:
        return _exactly(played.peak_reserved)
    batches = (*asked.batches, asked.lengths.largest, asked.lengths.largest)
    limited = _replayed(asked, batches, expandable=False, limit=room)
    if not limited.fits:
        return _exactly(played.peak_reserved)
    left = int(limited.reserved[-1])
    return ReservedMemory(limited.peak_reserved, left, room, (_gives_back(room),))


def _expandable(asked: MemoryQuestion, played: Replay) -> ReservedMemory:
    """Segments that grow: what one batch has freed serves the next, whatever their lengths."""
    room = asked.room
    recipe = asked.recipe.model_copy(update={"expandable_segments": False})
    plain = reserved_memory(replace(asked, recipe=recipe), played)
    if room is not None and played.peak_allocated > room:
        return plain
    peak = min(max(_grown(asked, None).peak_reserved, played.peak_allocated), plain.peak)
    note = f"expandable segments: {gib(plain.peak - peak)} less reserved than without them"
    if room is not None and peak > room:
        limited = _grown(asked, room)
        if limited.fits:
            peak = max(limited.peak_reserved, played.peak_allocated)
    return _exactly(peak, note)


def _grown(asked: MemoryQuestion, limit: int | None) -> Replay:
    return _replayed(asked, (*asked.batches, asked.lengths.largest), expandable=True, limit=limit)


def _fits_grown(asked: MemoryQuestion, room: int) -> bool:
    """As `_expandable` answers; what segments that do not grow would need is asked only where all else fails."""
    played = unlimited_replay(asked)
    if played.peak_allocated > room:
        return False
    if _grown(asked, None).peak_reserved <= room or _grown(asked, room).fits:
        return True
    return _expandable(asked, played).peak <= room


def _long_training(asked: MemoryQuestion, played: Replay) -> ReservedMemory:
    """Batches of varying length whose blocks stay cached: reserved memory grows with each batch longer than all before.

    How often that happens is a matter of their order, and so is the range.
    """
    room, lengths = asked.room, asked.lengths
    if room is not None and played.peak_allocated > room:
        return _exactly(played.peak_reserved)
    found = _replayed_long(asked, room)
    if found.failed is not None:
        wanted = max(_replayed_long(asked, None).peak, played.peak_reserved, (room or 0) + 1)
        return _exactly(wanted, _late_failure(asked, found.failed))
    peak = max(found.peak, played.peak_allocated)
    notes = [_cached_note(lengths, played, peak)]
    if room is not None and found.released:
        notes = [_gives_back(room)]
    slack = peak - played.peak_allocated
    order = load_constants("memory")["varying_slack"]
    high = peak + (order.high - 1) * slack
    low = min(peak - (1 - order.low) * slack, float(found.left))
    return ReservedMemory(peak, low, high if room is None else max(float(peak), min(high, room)), tuple(notes))


def _exactly(peak: int, *notes: str) -> ReservedMemory:
    return ReservedMemory(peak, peak, peak, notes)


def _cached_note(lengths: BatchLengths, played: Replay, peak: int) -> str:
    cached = gib(max(0, peak - played.peak_allocated))
    return (
        f"varying lengths leave about {cached} of cached blocks after {lengths.batches:,} batches; the allocator "
        "gives them back where they are needed, and --expandable-segments saves most of them"
    )


def _gives_back(room: int) -> str:
    return (
        f"the allocator fills the {gib(room)} it has, and then gives cached blocks back, which makes the device wait "
        "each time; --expandable-segments avoids most of it"
    )


def _late_failure(asked: MemoryQuestion, failed: int) -> str:
    """Which batches find no room, and from which step on one is likely."""
    lengths = asked.lengths
    record = min(failed, len(lengths.rising) - 1)
    length, one_in = lengths.rising[record], max(1, round(float(lengths.rarity[record])))
    step = max(1, round(one_in / asked.recipe.gradient_accumulation))
    if failed == 0:
        return f"batches of {length:.0f} tokens, which the first are, find no room in the first step already"
    return (
        f"batches of {length:.0f} tokens, about one in {one_in:,}, find no room beside what shorter ones left: it may "
        f"fail late, likely by step {step:,}; shorter ones pass"
    )


_KEPT: Final = 16
_replays: TimelineMemo[Replay] = TimelineMemo(_KEPT)
_long_replays: TimelineMemo[LongReplay] = TimelineMemo(_KEPT)
_programs: TimelineMemo[StepProgram] = TimelineMemo(_KEPT)


def unlimited_replay(asked: MemoryQuestion) -> Replay:
    """The replay of the batches that decide allocated memory, on a device without end."""
    return _replayed(asked, asked.batches, expandable=False, limit=None)


def _replayed(
    asked: MemoryQuestion, batches: tuple[Shape | str, ...], *, expandable: bool, limit: int | None
) -> Replay:
    accumulation = min(asked.recipe.gradient_accumulation, 2)
    return _replays.get(
        asked.timeline,
        (batches, accumulation, asked.workspace, expandable, limit),
        lambda: replay(
            asked.timeline,
            batches,
            accumulation=accumulation,
            workspace_bytes=asked.workspace,
            expandable=expandable,
            limit=limit,
        ),
    )


def _replayed_long(asked: MemoryQuestion, limit: int | None) -> LongReplay:
    records = tuple(asked.records)
    accumulation = min(asked.recipe.gradient_accumulation, 2)
    program = _programs.get(asked.timeline, (asked.workspace,), lambda: StepProgram(asked.timeline, asked.workspace))
    return _long_replays.get(
        asked.timeline,
        (records, accumulation, asked.workspace, limit),
        lambda: replay_long(program, records, accumulation=accumulation, limit=limit),
    )
