"""The meter of a job's device, and the limit of memory a job may set below the device's own."""

# pyright: reportUnknownMemberType=false
# torch.cuda's functions name only some of their types

from __future__ import annotations

import sys
from typing import cast

import torch

from advisor.domain.units import gib
from advisor.profiler.meters.cpu import CpuMeter
from advisor.profiler.meters.cuda import CudaMeter
from advisor.profiler.meters.meter import Meter
from advisor.profiler.meters.mps import MpsMeter
from advisor.profiler.profile_job import ProfileJob


def meter_for(job: ProfileJob) -> Meter:
    """The meter of a job's device."""
    if job.device == "cuda":
        return CudaMeter(history=job.history)
    made: Meter = {"cpu": CpuMeter, "mps": MpsMeter}[job.device]()
    return made


def limit_memory(job: ProfileJob, held_bytes: int) -> None:
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
        total = cast("int", torch.cuda.get_device_properties(0).total_memory)
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
