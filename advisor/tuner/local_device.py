"""What this machine has to train on: the GPU that a search is for, or its CPU."""

# pyright: reportUnknownMemberType=false
# torch's get_device_properties says no type

from __future__ import annotations

from typing import Final, cast

from advisor.errors import BadRequest, UnknownName
from advisor.estimator.gpu_request import AUTO

CPU: Final = "cpu"
"""Said instead of a GPU's name to train on the CPU beside one."""


def gpu_here(asked: str | None) -> str | None:
    """The GPU to search for: the one asked for, else the machine's own where the catalogue knows it; None: the CPU.

    Raises:
        UnknownName: nobody has heard of the GPU asked for.
        BadRequest: one is asked for, and torch finds none on this machine.
    """
    if asked is not None and asked.lower() != AUTO:
        if asked.lower() == CPU:
            return None
        check_device(asked)
        return asked
    import torch

    from advisor.catalog.gpus import find_gpu, reported_gpu

    if not torch.cuda.is_available():
        if asked is not None:
            raise BadRequest(
                "--gpu auto: torch sees no GPU on this machine",
                hints=["to tune on this machine's CPU: leave out --gpu"],
                gpu=AUTO,
            )
        return None
    name = torch.cuda.get_device_name()
    try:
        usual, _ = find_gpu(name)
        found, _ = reported_gpu(name, _memory_here())
    except (UnknownName, BadRequest) as error:
        raise BadRequest(
            f"the catalogue does not know this machine's GPU, {name}",
            cause=error.message,
            hints=["to name one like it: --gpu NAME (advisor gpus)", f"to train on the CPU: --gpu {CPU}"],
            gpu=name,
        ) from error
    # where cards of one name differ in memory, the name alone would be taken for the smallest
    return name if found.name == usual.name else found.name


def _memory_here() -> int | None:
    """Bytes of the machine's first GPU, None where torch does not say."""
    import torch

    try:
        return cast("int", torch.cuda.get_device_properties(0).total_memory)
    except (RuntimeError, AssertionError):
        return None


def check_device(gpu: str) -> None:
    """Refuse to search for a GPU where there is none.

    Raises:
        UnknownName: nobody has heard of the GPU.
        BadRequest: torch finds none on this machine.
    """
    import torch

    from advisor.catalog.gpus import find_gpu

    found, _ = find_gpu(gpu)
    if not torch.cuda.is_available():
        raise BadRequest(
            f"the search is to be for {found.name}, and torch finds no GPU on this machine",
            hints=["to tune on this machine's CPU: leave out --gpu", "or run it on the machine with the GPU"],
            gpu=found.name,
        )
