"""The meter of Apple's GPUs, torch.mps stood in for: it sees what lies in memory as phases begin, and says so."""

from __future__ import annotations

import pytest
import torch

from advisor.errors import BadRequest
from advisor.profiler import device
from advisor.profiler.measure_run import as_profile
from advisor.profiler.meters.meter import EVALUATION, STEP
from advisor.profiler.meters.mps import MpsMeter
from tests.profiler.conftest import make_job


class FakeMps:
    def __init__(self) -> None:
        self.held = 0
        self.waited = 0


@pytest.fixture
def mps(monkeypatch):
    fake = FakeMps()

    def wait() -> None:
        fake.waited += 1

    monkeypatch.setattr(torch.mps, "synchronize", wait)
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: fake.held)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: fake.held + 100)
    return fake


def test_memory_is_read_as_each_phase_begins_and_stages_are_told_apart(mps):
    meter = MpsMeter()
    with meter.watch():
        with meter.stage(STEP):
            for held, phase in ((10, "forward"), (50, "backward"), (30, "optimizer")):
                mps.held = held
                meter.mark(phase)
            mps.held = 20
        with meter.stage(EVALUATION):
            mps.held = 80
    profile = as_profile(make_job(), {}, meter, status="complete")
    assert profile.peak_allocated_bytes == 50
    assert profile.allocated_after_step_bytes == 20
    assert profile.evaluation_peak_bytes == 80
    assert profile.peak_reserved_bytes == 180
    assert "peaks between are not seen" in profile.notes


def test_the_host_waits_for_the_gpu_before_it_reads_its_clock(mps):
    meter = MpsMeter()
    with meter.timing():
        meter.mark("forward")
        before = mps.waited
        meter.mark("backward")
        assert mps.waited > before
    assert len(meter.seconds) == 1
    assert set(meter.phases) == {"forward", "backward"}


@pytest.mark.parametrize("wanted", ["auto", "mps"])
def test_an_apple_gpu_is_taken_where_torch_sees_one_and_refused_for_another_kind(monkeypatch, wanted):
    monkeypatch.setattr(device, "ask", lambda: device.DetectedDevice(mps=True))
    monkeypatch.setattr(device, "cpu_name", lambda: "Apple M3 Max")
    found = device.choose_device(wanted)
    assert (found.kind, found.reported) == ("mps", "Apple M3 Max")
    assert found.memory_bytes
    with pytest.raises(BadRequest, match="torch sees no cuda"):
        device.choose_device("cuda")
