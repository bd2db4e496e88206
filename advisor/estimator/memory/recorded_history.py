"""Our allocator beside PyTorch's own: a recorded history replayed, and where the two part."""

from __future__ import annotations

from dataclasses import dataclass

from advisor.domain.trace.allocator_history import History
from advisor.estimator.memory.caching_allocator import Block, CachingAllocator


@dataclass(frozen=True, slots=True)
class HistoryComparison:
    """Bytes recorded and replayed. `parted_at` is the first action after which reserved bytes differ, None if never.

    `unmatched` counts deaths of what was born before the recording began, which no replay can know.
    """

    actions: int
    peak_reserved: int
    replayed_peak_reserved: int
    peak_requested: int
    replayed_peak_allocated: int
    parted_at: int | None
    unmatched: int

    @property
    def error(self) -> float:
        """Replayed over recorded peak reserved, minus one."""
        return self.replayed_peak_reserved / self.peak_reserved - 1 if self.peak_reserved else 0.0


def compare(history: History, *, expandable: bool = False) -> HistoryComparison:
    """Births and deaths of the history through our allocator; its segments are only compared with.

    Reserved bytes are compared after each birth, when both have asked the driver for what they need.
    """
    allocator = CachingAllocator(expandable=expandable)
    alive: dict[int, Block] = {}
    sizes: dict[int, int] = {}
    reserved, peak_reserved, requested, peak_requested = 0, 0, 0, 0
    parted_at: int | None = None
    unmatched = 0
    for number, (action, address, size) in enumerate(history.actions):
        if action in ("segment_alloc", "segment_map"):
            reserved += size
            peak_reserved = max(peak_reserved, reserved)
        elif action in ("segment_free", "segment_unmap"):
            if reserved == allocator.reserved:
                # the first segment given back of those a call to empty_cache gives back
                allocator.empty_cache()
            reserved -= size
        elif action == "alloc":
            alive[address], sizes[address] = allocator.malloc(size), size
            requested += size
            peak_requested = max(peak_requested, requested)
            if parted_at is None and allocator.reserved != reserved:
                parted_at = number
        elif action == "free_completed":
            block = alive.pop(address, None)
            if block is None:
                unmatched += 1
                continue
            allocator.free(block)
            requested -= sizes.pop(address)
    return HistoryComparison(
        actions=len(history.actions),
        peak_reserved=peak_reserved,
        replayed_peak_reserved=allocator.peak_reserved,
        peak_requested=peak_requested,
        replayed_peak_allocated=allocator.peak_allocated,
        parted_at=parted_at,
        unmatched=unmatched,
    )
