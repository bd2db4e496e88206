"""One pool of the caching allocator, played without a record of each event: what hundreds of batches need.

Its rules are those of `caching_allocator`, and a test holds the two equal; this one keeps totals alone and counts in
units of MIN_BLOCK, which is several times as fast.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Final

from advisor.domain.units import gib
from advisor.errors import DoesNotFit
from advisor.estimator.memory.caching_allocator import MIN_BLOCK, SMALL_SIZE, Block, segment_size

_ADDRESS_BITS: Final = 44
UNIT: Final = MIN_BLOCK
"""Bytes of one unit of size: blocks are multiples of it."""


class BlockPool:
    """The small or the large blocks of one device, with fixed segments. Sizes in units of UNIT bytes.

    Args:
        slots: names a block can be alive under: 0 to slots - 1.
        small: the pool of blocks up to 1 MiB, whose rests are always split off.
        limit: units the driver can give to this pool; None: without end.
    """

    def __init__(self, slots: int, *, small: bool, limit: int | None = None) -> None:
        self.alive: list[Block | None] = [None] * slots
        self.small = small
        self.limit = limit
        self.reserved = 0
        self.peak_reserved = 0
        self.released = False
        self._splits_above = 0 if small else SMALL_SIZE // UNIT
        self._keys: list[int] = []
        self._blocks: dict[int, Block] = {}
        self._next_address = UNIT
        self._spare: list[Block] = []

    def play(self, slots: Sequence[int], sizes: Sequence[int]) -> None:
        """Births (size > 0) and deaths (size < 0) in order; a death of what is not alive is none.

        A name that is born while it is alive is bound anew, and what it stood for dies, as in Python.

        Raises:
            DoesNotFit: the limit is hit although all cached segments were given back.
        """
        alive, keys, blocks, spare = self.alive, self._keys, self._blocks, self._spare
        splits_above, bits = self._splits_above, _ADDRESS_BITS
        for slot, size in zip(slots, sizes, strict=True):
            block = alive[slot]
            if size < 0:
                if block is not None:
                    alive[slot] = None
                    self._free(block)
                continue
            at = bisect_left(keys, size << bits)
            taken = blocks.pop(keys.pop(at)) if at < len(keys) else self._new(size)
            left = taken.size - size
            if left > splits_above:
                after = taken.next
                rest = spare.pop() if spare else Block(0, 0, self.small)
                rest.size, rest.address, rest.free = left, taken.address + size, True
                rest.previous, rest.next = taken, after
                if after is not None:
                    after.previous = rest
                taken.next = rest
                taken.size = size
                key = left << bits | rest.address
                insort(keys, key)
                blocks[key] = rest
            taken.free = False
            alive[slot] = taken
            if block is not None:
                self._free(block)

    def move(self, pairs: Sequence[tuple[int, int]]) -> None:
        """What is alive under the first name of a pair takes the second, unless that is taken."""
        alive = self.alive
        for slot, heir in pairs:
            if alive[slot] is not None and alive[heir] is None:
                alive[heir], alive[slot] = alive[slot], None

    def release(self) -> None:
        """Whole free segments go back to the driver."""
        for key, block in list(self._blocks.items()):
            if block.previous is None and block.next is None:
                del self._blocks[key]
                del self._keys[bisect_left(self._keys, key)]
                self.reserved -= block.size

    def _free(self, block: Block) -> None:
        """Gives the block back to the cache, joined with free neighbours."""
        keys, blocks, bits = self._keys, self._blocks, _ADDRESS_BITS
        before, after = block.previous, block.next
        if before is not None and before.free:
            key = before.size << bits | before.address
            del keys[bisect_left(keys, key)], blocks[key]
            before.size += block.size
            before.next = after
            if after is not None:
                after.previous = before
            self._spare.append(block)
            block = before
        if after is not None and after.free:
            key = after.size << bits | after.address
            del keys[bisect_left(keys, key)], blocks[key]
            block.size += after.size
            block.next = after.next
            if after.next is not None:
                after.next.previous = block
            self._spare.append(after)
        block.free = True
        key = block.size << bits | block.address
        insort(keys, key)
        blocks[key] = block

    def _new(self, size: int) -> Block:
        """A segment that nobody holds yet, whole."""
        segment = segment_size(size * UNIT) // UNIT
        if self.limit is not None and self.reserved + segment > self.limit:
            self.release()
            self.released = True
            if self.reserved + segment > self.limit:
                raise DoesNotFit(
                    f"{gib(segment * UNIT)} asked of a pool of {gib(self.limit * UNIT)}",
                    asked=segment * UNIT,
                    reserved=self.reserved * UNIT,
                )
        self.reserved += segment
        self.peak_reserved = max(self.peak_reserved, self.reserved)
        block = Block(self._next_address, segment, self.small)
        self._next_address += segment
        return block
