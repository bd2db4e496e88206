"""What the NVIDIA driver says of a card: who uses it, power, clocks. Everything is None without `nvidia-ml-py`."""

from __future__ import annotations

import importlib
import os
import threading
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Final

SAMPLE_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Usage:
    """The card at one moment: bytes used by all, and how many processes compute on it."""

    used_bytes: int
    processes: int


@dataclass(slots=True)
class Card:
    """One card, asked through NVML; no CUDA context is made."""

    nvml: Any
    handle: Any

    @classmethod
    def visible(cls) -> Card | None:
        """The first card that CUDA will see, None without driver or library, or for a slice of a card."""
        try:
            nvml: Any = importlib.import_module("pynvml")
        except ImportError:
            return None
        try:
            nvml.nvmlInit()
            first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
            if first.isdigit():
                return cls(nvml, nvml.nvmlDeviceGetHandleByIndex(int(first)))
            return cls(nvml, nvml.nvmlDeviceGetHandleByUUID(first)) if first.startswith("GPU-") else None
        except nvml.NVMLError:
            return None

    def _ask(self, question: str, *arguments: Any) -> Any:
        """The answer, None where this card or driver does not give it."""
        try:
            return getattr(self.nvml, question)(*arguments)
        except (self.nvml.NVMLError, AttributeError):
            return None

    def is_card(self, uuid: str) -> bool:
        """Whether CUDA means the same card; its identifier comes without the driver's prefix."""
        mine = str(self._ask("nvmlDeviceGetUUID", self.handle) or "")
        return mine.removeprefix("GPU-") == uuid.removeprefix("GPU-")

    def usage(self) -> Usage | None:
        """Bytes used and processes computing; None where the driver does not say."""
        memory = self._ask("nvmlDeviceGetMemoryInfo", self.handle)
        processes = self._ask("nvmlDeviceGetComputeRunningProcesses", self.handle)
        if memory is None or processes is None:
            return None
        return Usage(int(memory.used), len(processes))

    def driver(self) -> str:
        """The driver's version."""
        return str(self._ask("nvmlSystemGetDriverVersion") or "")

    def power_w(self) -> float | None:
        milliwatts = self._ask("nvmlDeviceGetPowerUsage", self.handle)
        return None if milliwatts is None else milliwatts / 1000

    def power_limit_w(self) -> float | None:
        milliwatts = self._ask("nvmlDeviceGetEnforcedPowerLimit", self.handle)
        return None if milliwatts is None else milliwatts / 1000

    def clocks_mhz(self) -> dict[str, float]:
        """Clocks of the multiprocessors and the memory."""
        kinds = {"sm": "NVML_CLOCK_SM", "memory": "NVML_CLOCK_MEM"}
        read = {
            name: self._ask("nvmlDeviceGetClockInfo", self.handle, getattr(self.nvml, kind, None))
            for name, kind in kinds.items()
        }
        return {name: float(value) for name, value in read.items() if value is not None}


@dataclass(slots=True)
class Sampler:
    """Reads power and clocks in the background while steps run; means over the readings."""

    card: Card
    watts: list[float] = field(default_factory=list[float])
    clocks: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, if not begun."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End for good, with the last reading taken."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            watts = self.card.power_w()
            if watts is not None:
                self.watts.append(watts)
            for name, value in self.card.clocks_mhz().items():
                self.clocks.setdefault(name, []).append(value)
            if self._stop.wait(SAMPLE_SECONDS):
                return

    @property
    def mean_w(self) -> float | None:
        return fmean(self.watts) if self.watts else None

    @property
    def mean_clocks_mhz(self) -> dict[str, float]:
        return {name: fmean(values) for name, values in self.clocks.items()}
