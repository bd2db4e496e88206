"""Laws of the replayed caching allocator, and cases worked by hand from the rules of torch 2.13."""

from __future__ import annotations

import contextlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.errors import DoesNotFit
from advisor.estimator.memory.caching_allocator import CachingAllocator, round_size, segment_size

MIB = 2**20
SIZES = st.one_of(st.integers(1, 4096), st.integers(1, 3 * MIB), st.integers(1, 64 * MIB))
EVENTS = st.lists(st.tuples(st.booleans(), SIZES, st.integers(0, 10**6)), max_size=120)


def play(allocator, events, check=None):
    """Births and deaths in the order given; a death picks one of the living."""
    alive = {}
    for number, (birth, size, pick) in enumerate(events):
        if birth or not alive:
            alive[number] = (allocator.malloc(size), size)
        else:
            block, _ = alive.pop(sorted(alive)[pick % len(alive)])
            allocator.free(block)
        if check:
            check(alive)
    return alive


@given(events=EVENTS, expandable=st.booleans())
def test_reserved_is_never_below_the_bytes_alive(events, expandable):
    allocator = CachingAllocator(expandable=expandable)

    def check(alive):
        live = sum(round_size(size) for _, size in alive.values())
        assert live <= allocator.allocated <= allocator.reserved <= allocator.peak_reserved
        assert allocator.allocated == sum(block.size for block, _ in alive.values())
        spans = sorted((b.address, b.address + b.size) for b, _ in alive.values())
        spans += [(b.address, b.address + b.size) for b in allocator.cached_blocks()]
        spans.sort()
        assert all(end <= start for (_, end), (start, _) in pairwise(spans)), "blocks overlap"
        assert sum(end - start for start, end in spans) == allocator.reserved, "reserved is used plus cached"

    play(allocator, events, check)


@given(events=EVENTS, expandable=st.booleans())
def test_all_freed_leaves_whole_segments_that_empty_cache_returns(events, expandable):
    allocator = CachingAllocator(expandable=expandable)
    alive = play(allocator, events)
    for block, _ in alive.values():
        allocator.free(block)
    assert allocator.allocated == 0
    assert all(b.previous is None or not b.previous.free for b in allocator.cached_blocks()), "neighbours not joined"
    allocator.empty_cache()
    assert allocator.reserved == 0
    assert not allocator.cached_blocks()


@given(events=EVENTS, cuts=st.sets(st.integers(0, 119), max_size=5), expandable=st.booleans())
def test_emptying_the_cache_keeps_every_law(events, cuts, expandable):
    allocator = CachingAllocator(expandable=expandable)
    seen = [0]

    def check(alive):
        if seen[0] in cuts:
            allocator.empty_cache()
        seen[0] += 1
        used = sum(block.size for block, _ in alive.values())
        cached = sum(block.size for block in allocator.cached_blocks())
        assert used == allocator.allocated
        assert used + cached == allocator.reserved

    play(allocator, events, check)


@given(events=EVENTS)
def test_a_second_identical_round_reserves_nothing_new_when_all_was_freed(events):
    allocator = CachingAllocator()
    first = play(allocator, events)
    for block, _ in first.values():
        allocator.free(block)
    allocator.empty_cache()
    before = allocator.peak_reserved
    play(allocator, events)
    assert allocator.peak_reserved == before


@given(events=EVENTS, room=st.integers(1, 256))
def test_a_limit_is_never_exceeded(events, room):
    allocator = CachingAllocator(limit=room * MIB)
    with contextlib.suppress(DoesNotFit):
        play(allocator, events)
    assert allocator.peak_reserved <= room * MIB


def test_a_segment_that_fills_the_limit_exactly_fits_and_one_byte_less_does_not():
    CachingAllocator(limit=20 * MIB).malloc(2 * MIB)
    with pytest.raises(DoesNotFit):
        CachingAllocator(limit=20 * MIB - 1).malloc(2 * MIB)


@given(events=EVENTS)
def test_expandable_segments_waste_less_than_a_page_a_pool_when_nothing_dies(events):
    allocator = CachingAllocator(expandable=True)
    for _, size, _ in events:
        allocator.malloc(size)
    assert allocator.reserved - allocator.allocated < 22 * MIB


@pytest.mark.parametrize(
    ("size", "rounded", "segment"),
    [
        (1, 512, 2 * MIB),
        (512, 512, 2 * MIB),
        (513, 1024, 2 * MIB),
        (MIB, MIB, 2 * MIB),
        (MIB + 1, MIB + 512, 20 * MIB),
        (10 * MIB - 512, 10 * MIB - 512, 20 * MIB),
        (10 * MIB, 10 * MIB, 10 * MIB),
        (10 * MIB + 1, 10 * MIB + 512, 12 * MIB),
    ],
)
def test_sizes_are_rounded_as_torch_rounds_them(size, rounded, segment):
    assert round_size(size) == rounded
    assert segment_size(rounded) == segment


def test_a_large_block_with_less_than_a_mebibyte_over_is_not_split_and_counts_in_full():
    allocator = CachingAllocator()
    allocator.malloc(11 * MIB)
    assert (allocator.allocated, allocator.reserved) == (12 * MIB, 12 * MIB)


def test_a_large_block_with_more_over_is_split():
    allocator = CachingAllocator()
    allocator.malloc(2 * MIB)
    assert (allocator.allocated, allocator.reserved) == (2 * MIB, 20 * MIB)
    allocator.malloc(18 * MIB - 2 * 512)
    assert allocator.reserved == 20 * MIB


def test_the_smallest_block_that_fits_is_taken():
    allocator = CachingAllocator()
    large, small = allocator.malloc(40 * MIB), allocator.malloc(30 * MIB)
    allocator.free(large)
    allocator.free(small)
    assert allocator.malloc(29 * MIB).address == small.address


def test_small_and_large_requests_share_no_segment():
    allocator = CachingAllocator()
    allocator.free(allocator.malloc(20 * MIB))
    allocator.malloc(MIB)
    assert allocator.reserved == 22 * MIB


def test_cached_segments_are_given_back_before_memory_runs_out():
    allocator = CachingAllocator(limit=64 * MIB)
    allocator.free(allocator.malloc(40 * MIB))
    allocator.malloc(60 * MIB)
    assert allocator.reserved == 60 * MIB
    with pytest.raises(DoesNotFit) as caught:
        allocator.malloc(6 * MIB)
    assert caught.value.fields == {"asked": 20 * MIB, "allocated": 60 * MIB, "reserved": 60 * MIB}


def test_expandable_segments_grow_where_fixed_ones_fragment():
    def fragmented(expandable):
        allocator = CachingAllocator(expandable=expandable)
        for size in range(20, 60, 4):
            allocator.free(allocator.malloc(size * MIB))
        return allocator.peak_reserved

    assert fragmented(expandable=True) == 60 * MIB
    assert fragmented(expandable=False) > 300 * MIB
