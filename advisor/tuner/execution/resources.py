"""What a training may use of this machine when several run side by side: a GPU of its own, or a share of the cores."""

from __future__ import annotations

import os
from dataclasses import dataclass

from advisor.tuner.tune_request import TuneRequest


@dataclass(frozen=True, slots=True)
class ResourceSlot:
    """One of `of` places on this machine."""

    index: int = 0
    of: int = 1

    def threads(self, request: TuneRequest) -> int | None:
        """Of a training here; None leaves it to the libraries, as on a GPU."""
        if request.threads is not None or request.hardware is not None:
            return request.threads
        return max(1, (os.cpu_count() or 1) // self.of)

    def environment(self, request: TuneRequest, threads: int | None) -> dict[str, str]:
        """The variables that keep a training to its GPU, or to so many threads."""
        if request.hardware is None:
            # threads that wait give their core up: on a busy machine a spinning one stalls the others
            return {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": ""}
        if self.of == 1:
            return {}
        seen = [d for d in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if d]
        return {"CUDA_VISIBLE_DEVICES": seen[self.index % len(seen)] if seen else str(self.index)}
