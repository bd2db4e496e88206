"""The meter of NVIDIA's cards, and of AMD's through the same calls: device events, the caching allocator, NVML."""

# pyright: reportUnknownMemberType=false
# torch.cuda's functions name only some of their types

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any, Final, cast

import torch

from advisor.domain.trace.allocator_history import History, from_snapshot
from advisor.profiler.meters.meter import STEP, Facts
from advisor.profiler.meters.nvml import Card, Sampler

MOST_ACTIONS: Final = 10**6
"""Of one warm-up; a step of the largest models takes some ten thousand."""


class CudaMeter:
    """Device events for time, the caching allocator's own statistics for memory; ROCm builds answer the same calls.

    `history` records what the allocator does from the first step to the first timed one, so that a replay can be
    held against it (`advisor.estimator.memory.recorded_history.compare`); `kept` is it then.
    """

    times_within_watch = True

    def __init__(self, *, history: bool = False) -> None:
        self.kept: History | None = None
        self._history = history
        self._held = (0, 0)
        self._lost = ""
        self.seconds: list[float] = []
        self.phases: dict[str, float] = {}
        self._events: list[tuple[str, Any]] = []
        self._running = False
        self._facts: Facts = {"allocator": {}}
        self._card = Card.visible()
        self._before = self._card.usage() if self._card else None
        torch.cuda.init()
        uuid = str(getattr(cast("Any", torch.cuda.get_device_properties(0)), "uuid", ""))
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
            # random initialisation leaves blocks behind that loading weights would not
            torch.cuda.empty_cache()
            self._facts["reserved_at_start_bytes"] = torch.cuda.memory_reserved()
        torch.cuda.reset_peak_memory_stats()
        if name == STEP and self._history:
            self._record()
        try:
            yield
            torch.cuda.synchronize()
        finally:
            if self._sampler is not None:
                self._sampler.stop()
            self._read(name)

    def _record(self) -> None:
        """From here on the allocator keeps its actions, without stacks, which would slow the host down."""
        memory: Any = torch.cuda.memory
        self._held = (torch.cuda.memory_reserved(), torch.cuda.memory_allocated())
        memory._record_memory_history(enabled="all", context=None, max_entries=MOST_ACTIONS)

    def _keep(self) -> None:
        """What was recorded; recording ends, so that timed steps are as ever."""
        memory: Any = torch.cuda.memory
        self._history = False
        try:
            taken = memory._snapshot()
            memory._record_memory_history(enabled=None)
            made = from_snapshot(taken, device=torch.cuda.current_device(), torch=torch.__version__)
        except (RuntimeError, ValueError) as error:
            # a build that records nothing must not cost the run
            self._lost = f"no allocator history: {error}"
            return
        reserved, allocated = self._held
        self.kept = made.model_copy(update={"reserved_bytes": reserved, "allocated_bytes": allocated})

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
        if self._lost:
            notes.append(self._lost)
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
        if self._history:
            self._keep()
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
