"""A processor as a device of the cost model, described by what its profiles say of it: no catalogue lists processors.

Its rates are nominal ones of a common core times the threads a run used; what the machine reaches of them is fitted,
as for any device. A processor does each op before the host goes on: nothing overlaps.
"""

from __future__ import annotations

from typing import Any, Final

from advisor.catalog.constants import load_constants
from advisor.catalog.gpus import find_gpu
from advisor.domain.hardware import Gpu, Source
from advisor.domain.profile import Profile
from advisor.errors import UnknownName
from advisor.estimator.gpu_request import gpu_asked

PROCESSOR: Final = "processor"
"""Stands for the vendor in the description of a device that is no accelerator."""
PREFIX: Final = "cpu-"
"""Of a processor's name in profiles."""


def device_of(profile: Profile) -> Gpu:
    """The device a profile was measured on: the catalogue's, or a processor as the profile describes it.

    Raises:
        UnknownName: neither.
    """
    if not profile.device.startswith(PREFIX):
        return find_gpu(profile.device)[0]
    constants = load_constants(PROCESSOR)
    threads = threads_of(profile)
    core = constants["core_flop_s"]
    # the least memory it can have: what the run took
    memory = int(profile.allocator.get("resident_peak_bytes") or profile.peak_allocated_bytes or 1)
    fields: dict[str, Any] = {
        "name": profile.device,
        "vendor": PROCESSOR,
        "generation": profile.device_reported,
        "memory_bytes": memory,
        "usable_bytes": memory,
        "usable_why": "at least what this run took",
        "bandwidth_bytes_s": constants["core_bytes_s"].value * threads,
        "fp32_flop_s": core.value * threads,
        # converted to float32 and back: no rate of their own
        "bf16_flop_s": core.value * threads,
        "confidence": "low",
        "sources": (Source(address=core.source.address, where=f"{core.says}, times {threads} threads"),),
    }
    return Gpu.model_validate(fields)


def threads_of(profile: Profile) -> int:
    """Threads the run's products were shared out to; one where the profile does not say."""
    told = profile.versions.get("torch_threads", "")
    return int(told) if told.isdigit() and int(told) > 0 else 1


def measured_name(name: str, found: list[Profile]) -> str:
    """The device's name in profiles: a processor's is its own, a GPU's the catalogue's.

    Raises:
        UnknownName: neither a measured processor nor a GPU of the catalogue.
    """
    processors = sorted({profile.device for profile in found if profile.device.startswith(PREFIX)})
    if name in processors:
        return name
    try:
        return gpu_asked(name)[0].name
    except UnknownName as error:
        if name.startswith(PREFIX):
            raise UnknownName.of("processor", name, processors, list_with="advisor profile --dry-run") from error
        raise
