"""PyTorch's CUDA caching allocator, replayed: what is reserved when these tensors live and die in this order.

The rules are those of c10/cuda/CUDACachingAllocator.cpp at torch 2.13 (constants in
c10/core/AllocatorConfig.h) with default settings and one stream; `expandable` is
PYTORCH_ALLOC_CONF=expandable_segments:True. Left out: a second stream, CUDA graphs, max_split_size,
garbage_collection_threshold and roundup_power2_divisions, all off by default.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Final

from advisor.domain.units import gib
from advisor.errors import DoesNotFit

MIN_BLOCK: Final = 512
SMALL_SIZE: Final = 2**20
SMALL_BUFFER: Final = 2 * 2**20
LARGE_BUFFER: Final = 20 * 2**20
MIN_LARGE_ALLOC: Final = 10 * 2**20
ROUND_LARGE: Final = 2 * 2**20

_ADDRESS_BITS: Final = 56
_SPACE: Final = LARGE_BUFFER * 2**19
"""Address space set aside for an expandable segment; only what is mapped counts as reserved."""


def round_size(size: int) -> int:
    """Bytes a block takes for `size` requested: the next multiple of 512, at least 512."""
    return MIN_BLOCK if size <= MIN_BLOCK else -(-size // MIN_BLOCK) * MIN_BLOCK


def segment_size(rounded: int) -> int:
    """Bytes asked of the driver when no cached block serves a rounded request."""
    if rounded <= SMALL_SIZE:
        return SMALL_BUFFER
    if rounded < MIN_LARGE_ALLOC:
        return LARGE_BUFFER
    return -(-rounded // ROUND_LARGE) * ROUND_LARGE


class Block:
    """A stretch of one segment, linked to its neighbours in address order."""

    __slots__ = ("address", "free", "mapped", "next", "previous", "size", "small")

    def __init__(self, address: int, size: int, small: bool) -> None:
        self.address = address
        self.size = size
        self.small = small
        self.free = False
        self.mapped = True
        self.previous: Block | None = None
        self.next: Block | None = None


class _Pool:
    """Free blocks of one pool by (size, address): the order of the allocator's own set."""

    __slots__ = ("blocks", "keys")

    def __init__(self) -> None:
        self.keys: list[int] = []
        self.blocks: dict[int, Block] = {}

    def add(self, block: Block) -> None:
        key = block.size << _ADDRESS_BITS | block.address
        insort(self.keys, key)
        self.blocks[key] = block

    def remove(self, block: Block) -> None:
        key = block.size << _ADDRESS_BITS | block.address
        del self.keys[bisect_left(self.keys, key)]
        del self.blocks[key]

    def take_best(self, size: int) -> Block | None:
        """The smallest free block of at least `size`, lowest address among equals, taken out."""
        at = bisect_left(self.keys, size << _ADDRESS_BITS)
        if at == len(self.keys):
            return None
        return self.blocks.pop(self.keys.pop(at))


class CachingAllocator:
    """The allocator of one device. Sizes in bytes.

    `allocated` counts whole blocks in use, as `torch.cuda.memory_allocated()` does: a large block that is
    not split because less than 1 MiB would remain counts in full.

    Args:
        limit: bytes the driver can give in all; None: without end.
        expandable: growable segments instead of fixed ones.
    """

    def __init__(self, limit: int | None = None, *, expandable: bool = False) -> None:
        self.limit = limit
        self.expandable = expandable
        self.allocated = 0
        self.reserved = 0
        self.peak_allocated = 0
        self.peak_reserved = 0
        self.segments = 0
        self._small = _Pool()
        self._large = _Pool()
        self._next_address = LARGE_BUFFER
        self._spaces = {
            True: _Space(LARGE_BUFFER * 2**20, True, self._small),
            False: _Space(LARGE_BUFFER * 2**21, False, self._large),
        }

    def malloc(self, size: int) -> Block:
        """A block for `size` bytes (> 0), cached or new.

        Raises:
            DoesNotFit: the limit is hit although all cached blocks were released (asked, allocated, reserved).
        """
        rounded = MIN_BLOCK if size <= MIN_BLOCK else -(-size // MIN_BLOCK) * MIN_BLOCK
        small = rounded <= SMALL_SIZE
        pool = self._small if small else self._large
        block = pool.take_best(rounded)
        if block is None:
            block = self._new_block(rounded, small)
        block.free = False
        remaining = block.size - rounded
        if remaining >= MIN_BLOCK if small or self.expandable else remaining > SMALL_SIZE:
            rest = Block(block.address + rounded, remaining, small)
            rest.previous, rest.next = block, block.next
            if rest.next is not None:
                rest.next.previous = rest
            block.next = rest
            block.size = rounded
            rest.free = True
            pool.add(rest)
        self.allocated += block.size
        if self.allocated > self.peak_allocated:
            self.peak_allocated = self.allocated
        return block

    def free(self, block: Block) -> None:
        """Gives the block back to the cache, joined with free neighbours."""
        self.allocated -= block.size
        pool = self._small if block.small else self._large
        before, after = block.previous, block.next
        if before is not None and before.free:
            pool.remove(before)
            before.size += block.size
            before.next = after
            if after is not None:
                after.previous = before
            block = before
        if after is not None and after.free:
            pool.remove(after)
            block.size += after.size
            block.next = after.next
            if after.next is not None:
                after.next.previous = block
        block.free = True
        pool.add(block)

    def empty_cache(self) -> None:
        """`torch.cuda.empty_cache()`: whole free segments (expandable: whole free pages) go back to the driver."""
        if self.expandable:
            for space in self._spaces.values():
                space.unmap(self)
            return
        for pool in (self._small, self._large):
            for block in list(pool.blocks.values()):
                if block.previous is None and block.next is None:
                    pool.remove(block)
                    self.reserved -= block.size
                    self.segments -= 1

    def cached_blocks(self) -> list[Block]:
        """Free blocks, in no promised order."""
        return [*self._small.blocks.values(), *self._large.blocks.values()]

    def _new_block(self, rounded: int, small: bool) -> Block:
        if self.expandable:
            return self._spaces[small].grow(rounded, self)
        size = segment_size(rounded)
        self.claim(size)
        block = Block(self._next_address, size, small)
        self._next_address += size
        self.segments += 1
        return block

    def claim(self, size: int) -> None:
        """Counts `size` more reserved bytes, giving cached segments back first where the limit demands it."""
        if self.limit is not None and self.reserved + size > self.limit:
            self.empty_cache()
            if self.reserved + size > self.limit:
                raise DoesNotFit(
                    f"{gib(size)} asked of a device of {gib(self.limit)} with {gib(self.allocated)} allocated",
                    asked=size,
                    allocated=self.allocated,
                    reserved=self.reserved,
                )
        self.reserved += size
        if self.reserved > self.peak_reserved:
            self.peak_reserved = self.reserved


class _Space:
    """One expandable segment: used blocks, free blocks and unmapped gaps in address order."""

    __slots__ = ("first", "page", "pool")

    def __init__(self, address: int, small: bool, pool: _Pool) -> None:
        self.page = SMALL_BUFFER if small else LARGE_BUFFER
        self.pool = pool
        self.first = Block(address, _SPACE, small)
        self.first.mapped = False

    def grow(self, rounded: int, allocator: CachingAllocator) -> Block:
        """A block of at least `rounded` bytes, in no pool, from the lowest run of free and unmapped bytes."""
        block, pages = self._lowest_run(rounded)
        if allocator.limit is not None and allocator.reserved + pages > allocator.limit:
            allocator.empty_cache()
            block, pages = self._lowest_run(rounded)
        allocator.claim(pages)
        if block.mapped:
            self.pool.remove(block)
        else:
            self._map(block, rounded)
        while block.size < rounded:
            after = block.next
            assert after is not None, "a run found long enough cannot end"
            if after.mapped:
                self.pool.remove(after)
            else:
                self._map(after, rounded - block.size)
            _absorb(block, after)
        return block

    def unmap(self, allocator: CachingAllocator) -> None:
        """Gives back every page that lies wholly inside a free block."""
        block: Block | None = self.first
        while block is not None:
            following = block.next
            start = -(-block.address // self.page) * self.page
            end = (block.address + block.size) // self.page * self.page
            if block.free and end > start:
                self.pool.remove(block)
                gap = self._cut(block, start - block.address) if start > block.address else block
                if end < gap.address + gap.size:
                    self.pool.add(self._cut(gap, end - gap.address))
                if gap is not block:
                    self.pool.add(block)
                gap.free, gap.mapped = False, False
                allocator.reserved -= end - start
                if gap.next is not None and not gap.next.mapped:
                    _absorb(gap, gap.next)
                if gap.previous is not None and not gap.previous.mapped:
                    _absorb(gap.previous, gap)
                following = gap.next if gap.previous is None or gap.previous.mapped else gap.previous.next
            block = following

    def _lowest_run(self, rounded: int) -> tuple[Block, int]:
        """Where the lowest run of `rounded` free or unmapped bytes starts, and the bytes of pages to map in it."""
        block: Block | None = self.first
        while block is not None:
            if not block.mapped:
                before = block.previous
                start = before if before is not None and before.free else block
                found, pages, at = 0, 0, start
                while at is not None and found < rounded and (at.free or not at.mapped):
                    if not at.mapped:
                        pages += min(-(-(rounded - found) // self.page) * self.page, at.size)
                    found += at.size
                    at = at.next
                if found >= rounded:
                    return start, pages
            block = block.next
        raise AssertionError("an expandable segment has no end")

    def _map(self, gap: Block, wanted: int) -> None:
        """Maps the first pages of a gap; what is left of it stays a gap."""
        pages = -(-wanted // self.page) * self.page
        if pages < gap.size:
            self._cut(gap, pages)
        gap.mapped = True

    def _cut(self, block: Block, size: int) -> Block:
        """Splits a block of the line in two, `size` bytes in front; the rear one is returned, in no pool."""
        rest = Block(block.address + size, block.size - size, block.small)
        rest.free, rest.mapped = block.free, block.mapped
        rest.previous, rest.next = block, block.next
        if rest.next is not None:
            rest.next.previous = rest
        block.next = rest
        block.size = size
        return rest


def _absorb(block: Block, after: Block) -> None:
    """Joins a block with the one behind it."""
    block.size += after.size
    block.next = after.next
    if after.next is not None:
        after.next.previous = block
