"""Adding allocations up: laws that hold for any order of allocations, releases and marks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from advisor.profiler.meters.live_bytes import SETUP, AllocationEvent, alive_over

sizes = st.lists(st.integers(1, 10**9), max_size=20)


@st.composite
def histories(draw):
    """Moments in order, in which only what is alive is released."""
    alive: list[int] = []
    moments: list[AllocationEvent] = []
    for at in range(draw(st.integers(0, 40))):
        action = draw(st.sampled_from(["born", "dies", "mark"]))
        if action == "mark":
            moments.append(AllocationEvent(at, mark=draw(st.sampled_from(["forward", "backward", "end"]))))
        elif action == "dies" and alive:
            moments.append(AllocationEvent(at, -alive.pop(draw(st.integers(0, len(alive) - 1)))))
        else:
            alive.append(draw(st.integers(1, 10**9)))
            moments.append(AllocationEvent(at, alive[-1]))
    return moments, sum(alive)


@given(histories())
def test_a_peak_is_never_below_what_is_alive_at_the_end(history):
    found = alive_over(history[0])
    for name, end in found.end_bytes.items():
        assert found.peak_bytes[name] >= end >= 0


@given(histories())
def test_the_last_stretch_ends_with_what_was_never_released(history):
    moments, left = history
    last = next((m.mark for m in reversed(moments) if m.mark), SETUP)
    assert alive_over(moments).end_bytes[last] == left


@given(histories(), st.randoms())
def test_the_order_in_which_moments_are_handed_in_does_not_matter(history, random):
    shuffled = list(history[0])
    random.shuffle(shuffled)
    assert alive_over(shuffled) == alive_over(history[0])


@given(histories(), st.integers(1, 10**6))
def test_whatever_was_alive_before_raises_every_peak_by_itself(history, more):
    moments, _ = history
    base = alive_over(moments)
    raised = alive_over([AllocationEvent(-1, more), *moments])
    assert all(raised.peak_bytes[name] == peak + more for name, peak in base.peak_bytes.items())


def test_what_begins_a_stretch_alive_counts_within_it():
    found = alive_over(
        [
            AllocationEvent(0, 100),
            AllocationEvent(1, mark="forward"),
            AllocationEvent(2, -100),
            AllocationEvent(3, mark="end"),
        ]
    )
    assert found.peak("forward") == 100
    assert found.peak("end") == 0
    assert found.peak("backward") is None
    assert found.peak("forward", "backward", "end") == 100
