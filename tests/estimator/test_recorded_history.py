"""Our allocator against recorded histories: one written by hand after PyTorch's rules, and what damaged ones do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from advisor import store
from advisor.domain.trace.allocator_history import History, from_snapshot
from advisor.errors import BadFile
from advisor.estimator.memory.caching_allocator import CachingAllocator
from advisor.estimator.memory.recorded_history import compare

MIB = 2**20
# by c10/cuda/CUDACachingAllocator.cpp: up to 1 MiB from 2 MiB segments, below 10 MiB from 20 MiB segments, above
# that a segment of its own rounded to 2 MiB
BY_HAND: list[tuple[str, int, int]] = [
    ("segment_alloc", 0x1000000, 2 * MIB),
    ("alloc", 0x1000000, 1000),
    ("alloc", 0x1000400, 512 * 1024),
    ("segment_alloc", 0x2000000, 20 * MIB),
    ("alloc", 0x2000000, 8 * MIB),
    ("alloc", 0x2800000, 9 * MIB),
    ("segment_alloc", 0x8000000, 34 * MIB),
    ("alloc", 0x8000000, 33 * MIB + 5),
    ("free_requested", 0x2000000, 8 * MIB),
    ("free_completed", 0x2000000, 8 * MIB),
    ("alloc", 0x2000000, 7 * MIB),
    ("free_requested", 0x8000000, 33 * MIB + 5),
    ("free_completed", 0x8000000, 33 * MIB + 5),
    # freed whole and cached: a smaller request fits without asking the driver
    ("alloc", 0x8000000, 32 * MIB),
    ("free_requested", 0x8000000, 32 * MIB),
    ("free_completed", 0x8000000, 32 * MIB),
    ("segment_free", 0x8000000, 34 * MIB),
    ("segment_alloc", 0x9000000, 40 * MIB),
    ("alloc", 0x9000000, 40 * MIB),
]


def snapshot(actions: list[tuple[str, int, int]]) -> dict[str, Any]:
    """As `torch.cuda.memory._snapshot()` answers, with what is left behind as well."""
    entries = [
        {"action": a, "addr": at, "size": size, "stream": 0, "time_us": i, "frames": []}
        for i, (a, at, size) in enumerate(actions)
    ]
    return {"segments": [], "device_traces": [[], entries], "allocator_settings": {}}


def test_a_history_after_pytorchs_rules_is_replayed_to_the_byte():
    found = compare(from_snapshot(snapshot(BY_HAND), device=1))
    assert found.parted_at is None
    assert found.peak_reserved == found.replayed_peak_reserved == (2 + 20 + 40) * MIB
    assert found.error == 0
    assert found.unmatched == 0


@pytest.mark.parametrize(("at", "size"), [(0, 4 * MIB), (3, 10 * MIB), (6, 36 * MIB)])
def test_a_history_of_other_rules_is_told_apart_where_it_first_differs(at: int, size: int):
    other = list(BY_HAND)
    action, address, _ = other[at]
    other[at] = (action, address, size)
    assert compare(History(actions=tuple(other))).parted_at == at + 1  # type: ignore[arg-type]


def test_what_died_that_was_born_before_the_recording_is_counted_and_harms_nothing():
    late = [("free_requested", 7, 512), ("free_completed", 7, 512), *BY_HAND]
    found = compare(from_snapshot(snapshot(late), device=1))
    assert (found.unmatched, found.parted_at) == (1, None)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 60 * MIB)), min_size=1, max_size=60))
def test_a_history_written_by_our_own_allocator_never_parts(steps: list[tuple[int, int]]):
    """Whatever order tensors come and go in: writing and reading histories loses nothing."""
    allocator, alive, actions = CachingAllocator(), dict[int, Any](), list[tuple[str, int, int]]()
    for number, (slot, size) in enumerate(steps):
        if slot in alive:
            at, block, born = alive.pop(slot)
            allocator.free(block)
            actions += [("free_requested", at, born), ("free_completed", at, born)]
            continue
        before = allocator.reserved
        alive[slot] = (number, allocator.malloc(size), size)
        if allocator.reserved > before:
            actions.append(("segment_alloc", number, allocator.reserved - before))
        actions.append(("alloc", number, size))
    found = compare(History(actions=tuple(actions)))  # type: ignore[arg-type]
    assert found.parted_at is None
    assert found.peak_reserved == found.replayed_peak_reserved == allocator.peak_reserved


def test_a_history_survives_its_file(tmp_path: Any):
    made = from_snapshot(snapshot(BY_HAND), device=1, torch="2.13.0", name="H100-SXM")
    store.write(made, tmp_path / "history.json")
    assert store.read(History, tmp_path / "history.json") == made


def test_a_snapshot_without_recording_is_refused():
    for device in (0, 5):
        with pytest.raises(ValueError, match="no history"):
            from_snapshot(snapshot(BY_HAND), device=device)


def test_an_action_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="defragment"):
        from_snapshot(snapshot([*BY_HAND, ("defragment", 0, 1)]), device=1)
    with pytest.raises(ValidationError):
        History(actions=(("defragment", 0, 1),))  # type: ignore[arg-type]


def test_a_damaged_history_is_refused_with_its_field(tmp_path: Any):
    path = tmp_path / "history.json"
    store.write(History(actions=(("alloc", 1, 2),)), path)
    path.write_text(path.read_text().replace('"alloc"', '"alloo"'))
    with pytest.raises(BadFile, match="actions"):
        store.read(History, path)
