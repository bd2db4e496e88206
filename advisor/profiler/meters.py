"""Clocks and scales, one for each kind of device: what a step took, by phase, and what lay in memory when."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any, Final, Protocol

import torch

from advisor.domain.units import gib
from advisor.profiler.job import Job
from advisor.profiler.nvml import Card, Sampler
from advisor.profiler.timeline import Alive, Moment, alive_over

Facts = dict[str, Any]
"""Fields of a Profile."""

STEP, EVALUATION, SAVING, IDLE = "step", "evaluation", "saving", "idle"
_PREFIX: Final = "advisor::"
OTHERS_SHARE: Final = 0.1
"""A processor counts as shared when others kept a tenth of one core busy while steps were timed."""


class Meter(Protocol):
    """Used in this order: made before anything touches the device; `watch` around all that memory is read of;
    within it `stage` around each; `timing` around each repetition with `mark` as its phases begin."""

    times_within_watch: bool
    """Whether watching memory leaves the times alone, so that timed steps may run within it."""

    def watch(self) -> Any: ...

    def stage(self, name: str) -> Any:
        """Around warm-up and timed steps (STEP), EVALUATION or SAVING: peaks are told apart by it."""

    def mark(self, phase: str) -> None: ...

    def timing(self) -> Any:
        """Around one repetition; yields nothing, appends to `seconds` and adds to `phases`."""

    seconds: list[float]
    phases: dict[str, float]

    def settle(self) -> None:
        """Wait for the device."""

    def facts(self) -> Facts:
        """All that was read so far; callable after a failure as well."""
        ...


def meter_for(job: Job) -> Meter:
    """The meter of a job's device."""
    made: Meter = {"cuda": CudaMeter, "cpu": CpuMeter, "mps": MpsMeter}[job.device]()
    return made


def limit_memory(job: Job, held_bytes: int) -> None:
    """Let the process allocate no more than the job's limit, of which the model holds `held_bytes` already.

    On a processor the interpreter's own growth counts as well, so a limit there is met some MiB early.

    Raises:
        MemoryError: the model alone holds more.
    """
    limit = job.memory_limit_bytes
    if limit is None:
        return
    if held_bytes > limit:
        raise MemoryError(f"the model holds {gib(held_bytes)}, {gib(limit)} are allowed")
    if job.device == "cuda":
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total))
    elif job.device == "mps":
        torch.mps.set_per_process_memory_fraction(min(2.0, limit / torch.mps.recommended_max_memory()))
    elif sys.platform != "win32":
        import resource

        import psutil

        # on Linux the data segment counts anonymous mappings too, i.e. all that an allocator asks for
        data = getattr(psutil.Process().memory_info(), "data", 0)
        ceiling = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (data + limit - held_bytes, ceiling))


class _HostClock:
    """Phases by the host's clock, for devices whose work is done when the call returns or after `settle`."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.phases: dict[str, float] = {}
        self._phase = ""
        self._since = 0.0
        self._running = False

    def settle(self) -> None:
        """The host's own work is done once the call returned."""

    def mark(self, phase: str) -> None:
        if self._running:
            self._close()
            self._phase = phase

    def _close(self) -> None:
        self.settle()
        now = time.perf_counter()
        if self._phase:
            self.phases[self._phase] = self.phases.get(self._phase, 0.0) + now - self._since
        self._since = now

    @contextmanager
    def timing(self) -> Generator[None]:
        self.settle()
        self._running, self._phase = True, ""
        self._since = began = time.perf_counter()
        try:
            yield
            self._close()
            self.seconds.append(time.perf_counter() - began)
        finally:
            self._running = False


class CpuMeter(_HostClock):
    """Counts the process's own allocations with torch's profiler, so that kernels' temporaries are seen too.

    Watching slows the host down, so timed steps run after it.
    """

    times_within_watch = False

    def __init__(self) -> None:
        super().__init__()
        self._profiler: Any = None
        self._alive = Alive()
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
        # the autograd profiler alone records allocations without writing a trace
        self._profiler = torch.autograd.profiler.profile(use_cpu=True, use_kineto=True, profile_memory=True)
        self._profiler.__enter__()
        try:
            yield
        finally:
            self._profiler.__exit__(None, None, None)
            self._alive = alive_over(self._moments())
            self._profiler = None

    def _moments(self) -> Generator[Moment]:
        for event in self._profiler.kineto_results.events():
            name = event.name()
            if name == "[memory]" and event.device_type().name == "CPU":
                yield Moment(event.start_ns(), event.nbytes())
            elif name.startswith(_PREFIX):
                yield Moment(event.start_ns(), mark=name.removeprefix(_PREFIX))

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


class CudaMeter:
    """Device events for time, the caching allocator's own statistics for memory; ROCm builds answer the same calls."""

    times_within_watch = True

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.phases: dict[str, float] = {}
        self._events: list[tuple[str, Any]] = []
        self._running = False
        self._facts: Facts = {"allocator": {}}
        self._card = Card.visible()
        self._before = self._card.usage() if self._card else None
        torch.cuda.init()
        uuid = str(getattr(torch.cuda.get_device_properties(0), "uuid", ""))
        if self._card is not None and not self._card.is_card(uuid):
            self._card = self._before = None
        self._sampler = Sampler(self._card) if self._card is not None else None

    @contextmanager
    def watch(self) -> Generator[None]:
        try:
            yield
        finally:
            # after a fault of the device it answers nothing more; what was read before stands
            with suppress(RuntimeError):
                self._facts |= self._surroundings()

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        gc.collect()
        torch.cuda.synchronize()
        if name == STEP and "reserved_at_start_bytes" not in self._facts:
            self._facts["reserved_at_start_bytes"] = torch.cuda.memory_reserved()
        torch.cuda.reset_peak_memory_stats()
        try:
            yield
            torch.cuda.synchronize()
        finally:
            if self._sampler is not None:
                self._sampler.stop()
            self._read(name)

    def _read(self, name: str) -> None:
        """Peaks of the stage that ends; also after an out-of-memory, when no device call may wait."""
        allocated, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
        if name == STEP:
            self._facts["peak_allocated_bytes"] = allocated
            self._facts["peak_reserved_bytes"] = reserved
            self._facts["allocated_after_step_bytes"] = torch.cuda.memory_allocated()
            self._facts["allocator"] = allocator_summary(torch.cuda.memory_stats(), torch.cuda.memory_snapshot())
        else:
            self._facts[f"{name}_peak_bytes"] = allocated
            self._facts["allocator"][f"{name}_reserved_peak_bytes"] = float(reserved)

    def _surroundings(self) -> Facts:
        """Context, other users of the card, power, clocks and versions."""
        free, total = torch.cuda.mem_get_info()
        after = self._card.usage() if self._card else None
        others = self._before.used_bytes if self._before else 0
        context = total - free - torch.cuda.memory_reserved() - others
        shared = None
        if self._before is not None and after is not None:
            shared = self._before.processes > 0 or after.processes > 1
        sampler, card = self._sampler, self._card
        limit = card.power_limit_w() if card else None
        notes = [f"power limit {limit:.0f} W"] if limit is not None else []
        if card is None:
            notes.append("no NVML: the context includes what the driver and others held before")
        return {
            "context_bytes": max(0, context),
            "shared_device": shared,
            "power_w": sampler.mean_w if sampler else None,
            "clocks_mhz": sampler.mean_clocks_mhz if sampler else {},
            "driver": card.driver() if card else "",
            "versions": _cuda_versions(),
            "notes": "; ".join(notes),
        }

    def settle(self) -> None:
        torch.cuda.synchronize()

    def mark(self, phase: str) -> None:
        if self._running:
            self._events.append((phase, self._event()))

    @staticmethod
    def _event() -> Any:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    @contextmanager
    def timing(self) -> Generator[None]:
        """One repetition by device events; the host waits at its end, as trainers do when they look at the loss."""
        if self._sampler is not None:
            self._sampler.start()
        torch.cuda.synchronize()
        self._running = True
        self._events = [("", self._event())]
        try:
            yield
            self._events.append(("", self._event()))
            torch.cuda.synchronize()
            self._add_up()
        finally:
            self._running = False

    def _add_up(self) -> None:
        events = self._events
        self.seconds.append(events[0][1].elapsed_time(events[-1][1]) / 1e3)
        for (phase, began), (_, ended) in pairwise(events):
            if phase:
                self.phases[phase] = self.phases.get(phase, 0.0) + began.elapsed_time(ended) / 1e3

    def facts(self) -> Facts:
        return dict(self._facts)


def _cuda_versions() -> dict[str, str]:
    major, minor = torch.cuda.get_device_capability(0)
    found = {"cuda": torch.version.cuda, "hip": getattr(torch.version, "hip", None)}
    cudnn = torch.backends.cudnn.version()
    found |= {"cudnn": str(cudnn) if cudnn else None, "compute_capability": f"{major}.{minor}"}
    return {name: value for name, value in found.items() if value}


_STATISTICS: Final = (
    "num_alloc_retries",
    "num_ooms",
    "num_device_alloc",
    "num_device_free",
    "allocation.all.peak",
    "segment.all.current",
    "segment.all.peak",
    "active_bytes.all.peak",
    "requested_bytes.all.peak",
    "inactive_split_bytes.all.current",
    "inactive_split_bytes.all.peak",
    "reserved_bytes.small_pool.peak",
    "reserved_bytes.large_pool.peak",
)


def allocator_summary(statistics: dict[str, Any], snapshot: list[dict[str, Any]]) -> dict[str, float]:
    """The caching allocator's counters, and its segments summed up by pool: bytes, and bytes free within."""
    found = {name: float(statistics[name]) for name in _STATISTICS if name in statistics}
    for segment in snapshot:
        pool = str(segment.get("segment_type", "unknown"))
        free = [b["size"] for b in segment.get("blocks", ()) if b.get("state") == "inactive"]
        for name, value in (
            (f"snapshot.{pool}.segments", 1),
            (f"snapshot.{pool}.bytes", segment["total_size"]),
            (f"snapshot.{pool}.free_bytes", sum(free)),
        ):
            found[name] = found.get(name, 0.0) + float(value)
        found["snapshot.largest_free_bytes"] = max(
            found.get("snapshot.largest_free_bytes", 0.0), *map(float, free), 0.0
        )
    return found


class MpsMeter(_HostClock):
    """Apple's GPUs keep no peaks: memory is read as each phase begins, a lower bound, and the profile says so."""

    times_within_watch = True

    def __init__(self) -> None:
        super().__init__()
        self._stage = IDLE
        self._peaks: dict[str, int] = {}
        self._driver_peak = 0
        self._after: int | None = None

    def settle(self) -> None:
        torch.mps.synchronize()

    def _sample(self) -> int:
        held = torch.mps.current_allocated_memory()
        self._peaks[self._stage] = max(self._peaks.get(self._stage, 0), held)
        self._driver_peak = max(self._driver_peak, torch.mps.driver_allocated_memory())
        return held

    @contextmanager
    def watch(self) -> Generator[None]:
        yield

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        self._stage = name
        try:
            yield
        finally:
            held = self._sample()
            if name == STEP:
                self._after = held
            self._stage = IDLE

    def mark(self, phase: str) -> None:
        super().mark(phase)
        self._sample()

    def facts(self) -> Facts:
        return {
            "peak_allocated_bytes": self._peaks.get(STEP),
            "peak_reserved_bytes": self._driver_peak or None,
            "allocated_after_step_bytes": self._after,
            "evaluation_peak_bytes": self._peaks.get(EVALUATION),
            "saving_peak_bytes": self._peaks.get(SAVING),
            "notes": "memory read as phases begin: peaks between are not seen",
        }
