"""The CUDA meter without a card: torch.cuda and NVML are stood in for, and what is made of their answers is tested."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from advisor.profiler import meters
from advisor.profiler.measure_run import as_profile
from advisor.profiler.meters import limit_memory
from advisor.profiler.meters.cuda import CudaMeter, allocator_summary
from advisor.profiler.meters.meter import EVALUATION, STEP
from advisor.profiler.meters.nvml import Card
from tests.profiler.conftest import make_job

GIB = 2**30
UUID = "11111111-2222-3333-4444-555555555555"


class NvmlError(Exception):
    pass


class FakeCard:
    """A card as torch.cuda and pynvml tell it; `ms` is its own clock, `answers` may be changed by a test."""

    def __init__(self) -> None:
        self.ms = 0.0
        self.total = 80 * GIB
        self.before = 1 * GIB
        self.context = GIB // 2
        self.allocated = self.reserved = self.peak = self.peak_reserved = 0
        self.processes = [0, 1]
        self.uuid = UUID
        self.started = False
        self.refused: set[str] = set()

    def take(self, size: int) -> None:
        self.allocated += size
        self.reserved = max(self.reserved, self.allocated)
        self.peak = max(self.peak, self.allocated)
        self.peak_reserved = max(self.peak_reserved, self.reserved)

    def empty_cache(self) -> None:
        self.reserved = self.allocated

    def reset(self) -> None:
        self.peak, self.peak_reserved = self.allocated, self.reserved

    @property
    def used(self) -> int:
        return self.before + self.started * (self.context + self.reserved)

    def event(self, *, enable_timing: bool) -> Any:
        assert enable_timing
        made = SimpleNamespace(at=None)

        def record() -> None:
            made.at = self.ms

        made.record = record
        made.elapsed_time = lambda other: other.at - made.at
        return made

    def nvml(self) -> Any:
        def ask(name: str, answer: Any) -> Any:
            def asked(*_: Any) -> Any:
                if name in self.refused:
                    raise NvmlError(name)
                return answer()

            return asked

        answers = {
            "nvmlInit": lambda: None,
            "nvmlDeviceGetHandleByIndex": lambda: "handle",
            "nvmlDeviceGetHandleByUUID": lambda: "handle",
            "nvmlDeviceGetUUID": lambda: f"GPU-{self.uuid}",
            "nvmlDeviceGetMemoryInfo": lambda: SimpleNamespace(used=self.used),
            "nvmlDeviceGetComputeRunningProcesses": lambda: [None] * self.processes[self.started],
            "nvmlSystemGetDriverVersion": lambda: "580.65",
            "nvmlDeviceGetPowerUsage": lambda: 412_500,
            "nvmlDeviceGetEnforcedPowerLimit": lambda: 700_000,
            "nvmlDeviceGetClockInfo": lambda: 1980,
        }
        made = SimpleNamespace(NVMLError=NvmlError, NVML_CLOCK_SM=1, NVML_CLOCK_MEM=2)
        for name, answer in answers.items():
            setattr(made, name, ask(name, answer))
        return made


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> FakeCard:
    fake = FakeCard()
    fakes = {
        "init": lambda: setattr(fake, "started", True),
        "get_device_properties": lambda _: SimpleNamespace(uuid=UUID, total_memory=fake.total),
        "get_device_capability": lambda _: (9, 0),
        "synchronize": lambda: None,
        "empty_cache": fake.empty_cache,
        "reset_peak_memory_stats": fake.reset,
        "memory_reserved": lambda: fake.reserved,
        "memory_allocated": lambda: fake.allocated,
        "max_memory_allocated": lambda: fake.peak,
        "max_memory_reserved": lambda: fake.peak_reserved,
        "memory_stats": lambda: {"num_alloc_retries": 2, "num_ooms": 0, "unheard of": 1},
        "memory_snapshot": lambda: [],
        "mem_get_info": lambda: (fake.total - fake.used, fake.total),
        "Event": fake.event,
    }
    for name, value in fakes.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setitem(sys.modules, "pynvml", fake.nvml())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return fake


PHASE_MS = {"between": 1.0, "forward": 30.0, "backward": 60.0, "optimizer": 9.0}


def run(card: FakeCard, repetitions: int = 3) -> CudaMeter:
    meter = CudaMeter()
    with meter.watch():
        card.take(12 * GIB)
        card.allocated -= 2 * GIB
        with meter.stage(STEP):
            meter.mark("forward")
            card.take(5 * GIB)
            card.allocated -= 5 * GIB
            for _ in range(repetitions):
                with meter.timing():
                    for phase, ms in PHASE_MS.items():
                        meter.mark(phase)
                        card.ms += ms
        with meter.stage(EVALUATION):
            card.take(7 * GIB)
            card.allocated -= 7 * GIB
    return meter


def test_a_step_begins_without_the_blocks_that_loading_left_and_later_stages_keep_theirs(card):
    meter = CudaMeter()
    with meter.watch():
        card.take(12 * GIB)
        card.allocated -= 2 * GIB
        with meter.stage(STEP):
            assert card.reserved == 10 * GIB
            card.take(5 * GIB)
            card.allocated -= 6 * GIB
        with meter.stage(EVALUATION):
            assert card.reserved == 15 * GIB
    assert meter.facts()["reserved_at_start_bytes"] == 10 * GIB


def test_step_time_is_the_time_between_its_events_and_phases_add_up_to_it(card):
    meter = run(card)
    assert meter.seconds == [0.1] * 3
    profile = as_profile(make_job(), {}, meter, status="complete")
    assert profile.phase_seconds == {name: pytest.approx(ms / 1e3) for name, ms in PHASE_MS.items()}
    assert profile.steps == 3


def test_each_stage_has_its_own_peak(card):
    facts = run(card).facts()
    assert facts["reserved_at_start_bytes"] == 10 * GIB
    assert facts["peak_allocated_bytes"] == facts["peak_reserved_bytes"] == 15 * GIB
    assert facts["allocated_after_step_bytes"] == 10 * GIB
    assert facts["evaluation_peak_bytes"] == 17 * GIB


def test_the_context_is_what_the_card_lost_beyond_the_reserved_and_what_was_used_before(card):
    facts = run(card).facts()
    assert facts["context_bytes"] == card.context
    assert facts["shared_device"] is False


@pytest.mark.parametrize("processes", [[1, 2], [0, 2], [1, 1]])
def test_another_process_on_the_card_is_seen_before_and_after(card, processes):
    card.processes = processes
    assert run(card).facts()["shared_device"] is True


def test_power_clocks_driver_and_versions_are_as_read(card):
    facts = run(card).facts()
    assert facts["power_w"] == 412.5
    assert facts["clocks_mhz"] == {"sm": 1980.0, "memory": 1980.0}
    assert facts["driver"] == "580.65"
    assert facts["versions"]["compute_capability"] == "9.0"
    assert "power limit 700 W" in facts["notes"]


def test_without_nvml_nothing_is_invented(card, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    facts = run(card).facts()
    assert facts["power_w"] is facts["shared_device"] is None
    assert (facts["clocks_mhz"], facts["driver"]) == ({}, "")
    assert facts["context_bytes"] == card.context + card.before
    assert "no NVML" in facts["notes"]


def test_another_card_than_cudas_is_not_believed(card):
    card.uuid = "99999999-0000-0000-0000-000000000000"
    facts = run(card).facts()
    assert facts["power_w"] is facts["shared_device"] is None


@pytest.mark.parametrize(
    "refused", ["nvmlDeviceGetPowerUsage", "nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetClockInfo"]
)
def test_a_question_the_driver_refuses_leaves_the_others_answered(card, refused):
    card.refused = {refused}
    facts = run(card).facts()
    assert facts["driver"] == "580.65"
    assert facts["peak_allocated_bytes"] == 15 * GIB
    assert (facts["power_w"] is None) == (refused == "nvmlDeviceGetPowerUsage")


@pytest.mark.parametrize(
    ("visible", "found"), [("1", True), ("2,0", True), ("GPU-a", True), ("MIG-a", False), ("", False)]
)
def test_the_card_asked_is_the_one_cuda_may_see(card, monkeypatch, visible, found):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert (Card.visible() is not None) is found


@pytest.mark.parametrize(
    ("visible", "asked"), [(None, 0), ("1", 1), ("2,0", 2), (" 3 , 1", 3), ("GPU-a,GPU-b", "GPU-a")]
)
def test_power_and_clocks_are_read_of_the_first_card_that_cuda_may_see(monkeypatch, visible, asked):
    library: Any = ModuleType("pynvml")
    library.NVMLError, library.nvmlInit = NvmlError, lambda: None
    library.nvmlDeviceGetHandleByIndex = library.nvmlDeviceGetHandleByUUID = lambda which: which
    monkeypatch.setitem(sys.modules, "pynvml", library)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = Card.visible()
    assert found is not None
    assert found.handle == asked


def starve(card: FakeCard, meter: CudaMeter) -> None:
    with meter.watch(), meter.stage(STEP):
        card.take(70 * GIB)
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_out_of_memory_in_a_step_keeps_the_peak_up_to_there(card):
    meter = CudaMeter()
    with pytest.raises(torch.OutOfMemoryError):
        starve(card, meter)
    facts = meter.facts()
    assert facts["peak_allocated_bytes"] == 70 * GIB
    assert facts["context_bytes"] == card.context
    assert meter.seconds == []


def test_a_card_in_an_error_state_does_not_hide_the_first_error(card, monkeypatch):
    def lost() -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    meter = CudaMeter()
    monkeypatch.setattr(torch.cuda, "mem_get_info", lost)
    with pytest.raises(ZeroDivisionError), meter.watch(), meter.stage(STEP):
        raise ZeroDivisionError("first")
    assert meter.facts()["peak_allocated_bytes"] == 0


def test_a_repetition_that_failed_is_not_counted(card):
    meter = CudaMeter()
    with pytest.raises(ZeroDivisionError), meter.timing():
        raise ZeroDivisionError
    assert meter.seconds == []
    assert meter.phases == {}


@given(
    st.lists(
        st.builds(
            lambda pool, sizes: {
                "segment_type": pool,
                "total_size": sum(size for size, _ in sizes),
                "blocks": [{"size": size, "state": "inactive" if free else "active_allocated"} for size, free in sizes],
            },
            st.sampled_from(["small", "large"]),
            st.lists(st.tuples(st.integers(512, 10**9), st.booleans()), min_size=1, max_size=5),
        ),
        max_size=8,
    )
)
def test_the_snapshots_summary_loses_no_byte(snapshot):
    found = allocator_summary({}, snapshot)
    total = sum(value for name, value in found.items() if name.endswith(".bytes"))
    free = sum(value for name, value in found.items() if name.endswith(".free_bytes"))
    assert total == sum(segment["total_size"] for segment in snapshot)
    assert free <= total
    assert found.get("snapshot.largest_free_bytes", 0.0) <= free


def recorded(monkeypatch: pytest.MonkeyPatch, traces: list[Any]) -> list[Any]:
    """A CUDA that records allocator histories; answers the calls it got."""
    calls: list[Any] = []

    def record(**asked: Any) -> None:
        calls.append(asked["enabled"])

    monkeypatch.setattr(torch.cuda.memory, "_record_memory_history", record)
    monkeypatch.setattr(torch.cuda.memory, "_snapshot", lambda: {"device_traces": traces})
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    return calls


def with_history(card: FakeCard) -> CudaMeter:
    meter = CudaMeter(history=True)
    with meter.watch(), meter.stage(STEP):
        meter.mark("forward")
        for _ in range(2):
            with meter.timing():
                card.ms += 5.0
    return meter


def test_the_allocators_history_ends_before_the_first_timed_step(card, monkeypatch):
    entries = [{"action": "alloc", "addr": 7, "size": 512, "stream": 0, "time_us": 1, "frames": []}]
    calls = recorded(monkeypatch, [entries])
    meter = with_history(card)
    assert calls == ["all", None]
    assert meter.kept is not None
    assert meter.kept.actions == (("alloc", 7, 512),)
    assert meter.kept.reserved_bytes == card.reserved


def test_a_build_that_records_nothing_costs_no_run(card, monkeypatch):
    recorded(monkeypatch, [[]])
    meter = with_history(card)
    assert meter.kept is None
    assert len(meter.seconds) == 2
    assert "no allocator history" in meter.facts()["notes"]


def test_without_being_asked_no_history_is_recorded(card, monkeypatch):
    calls = recorded(monkeypatch, [])
    assert run(card).kept is None
    assert calls == []


def test_of_the_allocators_statistics_only_known_ones_are_kept(card):
    allocator = run(card).facts()["allocator"]
    assert allocator["num_alloc_retries"] == 2.0
    assert "unheard of" not in allocator


def test_a_limit_of_memory_is_a_share_of_the_card(card, monkeypatch):
    told: list[float] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", told.append)
    job = make_job(memory_limit_bytes=20 * GIB).model_copy(update={"device": "cuda"})
    limit_memory(job, 3 * GIB)
    assert told == [0.25]
    with pytest.raises(MemoryError):
        limit_memory(job, 21 * GIB)
    assert meters.meter_for(job).times_within_watch
