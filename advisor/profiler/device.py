"""Which device a run goes to, what it calls itself, and what it is called here.

Asked in a process of its own (`python -m advisor.profiler.device`), since asking CUDA makes a context that
would lie on the device beside every run.
"""

# pyright: reportUnknownMemberType=false
# torch's get_device_properties says no type

from __future__ import annotations

import json
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

from pydantic import ValidationError

from advisor import processes
from advisor.domain.hardware import Gpu
from advisor.domain.stored import Value
from advisor.domain.units import GIB, gib
from advisor.errors import AdvisorError, BadRequest, UnknownName
from advisor.libraries import installed_versions
from advisor.profiler.profile_job import Kind, slug

LIBRARIES: Final = ("torch", "transformers", "peft", "bitsandbytes", "trl", "accelerate")
ASK_SECONDS: Final = 180.0


class Device(Value):
    """A device at hand. `name` is the catalogue's where it knows the device, else what it reports, as a slug."""

    kind: Kind
    name: str
    reported: str
    memory_bytes: int | None = None


class DetectedDevice(Value):
    """What torch sees: names and memory of the first device of each kind."""

    cuda: str | None = None
    cuda_memory_bytes: int | None = None
    mps: bool = False


def choose_device(wanted: str = "auto") -> Device:
    """The device asked for; `auto` takes a GPU where there is one.

    Raises:
        BadRequest: no such kind, or torch sees no such device.
    """
    if wanted not in ("auto", "cuda", "cpu", "mps"):
        raise BadRequest(f"unknown device: {wanted!r}", hints=["one of auto, cuda, cpu, mps"], device=wanted)
    if wanted == "cpu":
        return cpu_device()
    found = ask()
    if found.cuda is not None and wanted in ("auto", "cuda"):
        name = catalogue_name(found.cuda, found.cuda_memory_bytes)
        return Device(kind="cuda", name=name, reported=found.cuda, memory_bytes=found.cuda_memory_bytes)
    if found.mps and wanted in ("auto", "mps"):
        chip, memory = cpu_name(), _machine_memory()
        name = catalogue_name(f"{chip} {memory / GIB:.0f}GB")
        return Device(kind="mps", name=name, reported=chip, memory_bytes=memory)
    if wanted != "auto":
        raise BadRequest(
            f"torch sees no {wanted} device here",
            cause=f"installed torch: {library_versions().get('torch', 'none')}",
            hints=["to measure the processor instead: --device cpu"],
            device=wanted,
        )
    return cpu_device()


def gpu_at_hand() -> tuple[Gpu, str]:
    """The catalogue's card that this machine has, with the memory that torch reports of it, and a note that says so.

    Raises:
        BadRequest: torch is missing or sees no GPU.
        UnknownName: the catalogue does not know the card; says how to describe it.
    """
    from advisor.catalog.gpus import find_gpu, reported_gpu

    try:
        found = ask()
    except BadRequest as error:
        raise _no_gpu_at_hand(error.cause or error.message) from error
    if found.cuda is None and not found.mps:
        raise _no_gpu_at_hand(f"installed torch: {library_versions().get('torch', 'none')}")
    if found.cuda is None:
        machine = f"{cpu_name()} {_machine_memory() / GIB:.0f}GB"
        return find_gpu(machine)[0], f"this machine's GPU, {machine}"
    memory = found.cuda_memory_bytes
    try:
        gpu, _ = reported_gpu(found.cuda, memory)
    except UnknownName as error:
        size = "24GB" if memory is None else f"{memory / GIB:.2f}GiB"
        raise UnknownName(
            f"the catalogue does not know this machine's GPU, {found.cuda}",
            hints=[
                f"to describe it: --gpu-memory {size} --gpu-like NAME",
                *(hint for hint in error.hints if "--gpu-memory" not in hint),
            ],
            **error.fields,
        ) from error
    if memory is None or (gpu.vendor == "nvidia" and "unified" in (gpu.interconnect or "")):
        return gpu, f"this machine's GPU, {found.cuda}"
    told = {"usable_bytes": min(memory, gpu.memory_bytes), "usable_why": "total capacity that PyTorch reports here"}
    return gpu.model_copy(update=told), f"this machine's GPU, {found.cuda} with {gib(memory)}"


def _no_gpu_at_hand(cause: str) -> BadRequest:
    return BadRequest(
        "--gpu auto: torch sees no GPU on this machine",
        cause=cause,
        hints=["to name one: --gpu NAME", "to list them: advisor gpus"],
        gpu="auto",
    )


def cpu_device() -> Device:
    """The processor, by its model name."""
    name = cpu_name()
    return Device(kind="cpu", name=f"cpu-{slug(name)}", reported=name, memory_bytes=_machine_memory())


def catalogue_name(reported: str, memory_bytes: int | None = None) -> str:
    """The catalogue's name of a GPU with this memory; one it does not know keeps its own, and nobody's figures."""
    from advisor.catalog.gpus import reported_gpu

    try:
        return reported_gpu(reported, memory_bytes)[0].name
    except AdvisorError:
        return slug(reported)


def cpu_name() -> str:
    """The processor's model name as the system says it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    if sys.platform == "darwin":
        said = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False)
        if said.stdout.strip():
            return said.stdout.strip()
    return platform.processor() or platform.machine()


def library_versions() -> dict[str, str]:
    """Installed versions of what a run depends on; absent ones are left out."""
    return installed_versions(LIBRARIES)


@cache
def ask() -> DetectedDevice:
    """What torch sees, asked in another process, once: starting torch takes seconds and the answer does not change.

    Raises:
        BadRequest: torch is missing or cannot start; `cause` is what it said.
    """
    command = processes.command_of("advisor.profiler.device")
    environment = processes.environment()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ASK_SECONDS, check=True, env=environment)
        return DetectedDevice.model_validate_json(done.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired as error:
        cause, wrong = f"no answer in {ASK_SECONDS:g} s", error
    except subprocess.CalledProcessError as error:
        said = (error.stderr or "").strip().splitlines()
        cause, wrong = said[-1] if said else f"exit code {error.returncode}", error
    except (ValidationError, IndexError) as error:
        cause, wrong = "it answered something else than was asked", error
    raise BadRequest(
        "torch could not be asked for its devices", cause=cause, hints=["to measure the processor: --device cpu"]
    ) from wrong


def _machine_memory() -> int:
    import psutil

    return int(psutil.virtual_memory().total)


def _look() -> dict[str, Any]:
    import torch

    found: dict[str, Any] = {"mps": torch.backends.mps.is_available()}
    if torch.cuda.is_available():
        properties = cast("Any", torch.cuda.get_device_properties(0))
        found |= {"cuda": properties.name, "cuda_memory_bytes": properties.total_memory}
    return found


if __name__ == "__main__":
    print(json.dumps(_look()))
