"""The meter of Apple's GPUs."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch

from advisor.profiler.meters.meter import EVALUATION, IDLE, SAVING, STEP, Facts, HostClock


class MpsMeter(HostClock):
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
