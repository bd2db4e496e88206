"""What every meter answers to, and the clock of those whose time is the host's."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Protocol

Facts = dict[str, Any]
"""Fields of a Profile."""

STEP, EVALUATION, SAVING, IDLE = "step", "evaluation", "saving", "idle"


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


class HostClock:
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
