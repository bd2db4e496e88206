"""The processor's meter: its own allocations counted, the host's clock read."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

import torch

from advisor.profiler.meters.live_bytes import AllocationEvent, LiveBytes, alive_over
from advisor.profiler.meters.meter import EVALUATION, IDLE, SAVING, STEP, Facts, HostClock

_PREFIX: Final = "advisor::"
OTHERS_SHARE: Final = 0.1
"""A processor counts as shared when others kept a tenth of one core busy while steps were timed."""


class CpuMeter(HostClock):
    """Counts the process's own allocations with torch's profiler, so that kernels' temporaries are seen too.

    Watching slows the host down, so timed steps run after it.
    """

    times_within_watch = False

    def __init__(self) -> None:
        super().__init__()
        self._profiler: Any = None
        self._alive = LiveBytes()
        self._stage = IDLE
        self._wall = self._others = 0.0

    @contextmanager
    def timing(self) -> Generator[None]:
        wall, busy, mine = time.perf_counter(), _busy_seconds(), time.process_time()
        with super().timing():
            yield
        self._wall += time.perf_counter() - wall
        self._others += _busy_seconds() - busy - (time.process_time() - mine)

    @contextmanager
    def watch(self) -> Generator[None]:
        # what is released within was also born within: leftovers of before would count as negative
        gc.collect()
        # the autograd profiler alone records allocations without writing a trace
        self._profiler = torch.autograd.profiler.profile(use_cpu=True, use_kineto=True, profile_memory=True)
        self._profiler.__enter__()
        try:
            yield
        finally:
            self._profiler.__exit__(None, None, None)
            self._alive = alive_over(self._moments())
            self._profiler = None

    def _moments(self) -> Generator[AllocationEvent]:
        for event in self._profiler.kineto_results.events():
            name = event.name()
            if name == "[memory]" and event.device_type().name == "CPU":
                yield AllocationEvent(event.start_ns(), event.nbytes())
            elif name.startswith(_PREFIX):
                yield AllocationEvent(event.start_ns(), mark=name.removeprefix(_PREFIX))

    def _note(self, name: str) -> None:
        if self._profiler is not None:
            with torch.autograd.profiler.record_function(_PREFIX + name):
                pass

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        self._stage = name
        self._note(name)
        try:
            yield
        finally:
            self._stage = IDLE
            self._note(IDLE)

    def mark(self, phase: str) -> None:
        super().mark(phase)
        if self._stage == STEP:
            self._note(f"{STEP}/{phase}")

    def facts(self) -> Facts:
        alive = self._alive
        steps = [name for name in alive.peak_bytes if name.split("/")[0] == STEP]
        last = [alive.end_bytes[name] for name in steps if name == f"{STEP}/end"]
        allocator = {"allocations": float(alive.allocations), "loading_peak_bytes": float(alive.peak("setup") or 0)}
        allocator |= {f"{name.partition('/')[2]}_peak_bytes": float(alive.peak_bytes[name]) for name in steps}
        allocator.pop("_peak_bytes", None)
        allocator.pop("end_peak_bytes", None)
        resident = _resident_peak_bytes()
        if resident is not None:
            allocator["resident_peak_bytes"] = float(resident)
        return {
            "peak_allocated_bytes": alive.peak(*steps),
            "allocated_after_step_bytes": last[-1] if last else None,
            "evaluation_peak_bytes": alive.peak(EVALUATION),
            "saving_peak_bytes": alive.peak(SAVING),
            "allocator": allocator,
            "shared_device": self._others > OTHERS_SHARE * self._wall if self._wall else None,
            "versions": {"torch_threads": str(torch.get_num_threads())},
        }


def _busy_seconds() -> float:
    """Processor seconds that all processes of the machine have used so far."""
    import psutil

    spent = psutil.cpu_times()
    # a guest's time is in the user's already
    idle = ("idle", "iowait", "guest", "guest_nice")
    return sum(spent) - sum(float(getattr(spent, name, 0.0)) for name in idle)


def _resident_peak_bytes() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
