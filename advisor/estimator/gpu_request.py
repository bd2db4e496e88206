"""Which card `--gpu`, `--gpu-memory` and `--gpu-like` mean: the catalogue's, one described, or this machine's."""

from __future__ import annotations

from typing import Final

from advisor.catalog.gpus import described_gpu
from advisor.catalog.gpus.capabilities import half_precision, no_bf16
from advisor.catalog.training_precision import float16_overflow
from advisor.domain.hardware import Gpu
from advisor.domain.model import ModelSpec
from advisor.domain.request.vocabulary import DType
from advisor.errors import BadRequest

AUTO: Final = "auto"
"""Said instead of a GPU's name: the one of the machine that asks."""


def gpu_asked(gpu: str | None, memory: str | float | None = None, like: str | None = None) -> tuple[Gpu, str]:
    """The card, and a note for the reader where it was not simply looked up.

    Raises:
        UnknownName: a name that means no GPU.
        BadRequest: a size no GPU has; `auto` where torch sees no GPU, or with a description beside it.
    """
    if gpu is None or gpu.strip().lower() != AUTO:
        return described_gpu(gpu, memory, like)
    if memory is not None or like is not None:
        raise BadRequest(
            "--gpu auto looks at this machine's GPU, so it cannot be described too",
            hints=["leave out --gpu-memory and --gpu-like, or name the card: --gpu NAME"],
            field="gpu",
        )
    from advisor.profiler.device import gpu_at_hand

    return gpu_at_hand()


def dtype_asked(dtype: DType | None, gpu: Gpu, spec: ModelSpec | None = None) -> tuple[DType, tuple[str, ...]]:
    """The 16-bit type the card has where none is asked for, and a note where card or model cannot do with it.

    A model that leaves float16's range runs in float32 on a card without bfloat16, unless float16 is asked for.
    """
    overflow = float16_overflow(spec) if spec is not None else ""
    if dtype is None and half_precision(gpu) == "float16":
        if overflow:
            return "float32", (f"precision: float32, since {gpu.name} has no bfloat16 and {overflow}",)
        return "float16", (f"precision: float16, since {gpu.name} has no bfloat16",)
    if dtype is None:
        return "bfloat16", ()
    note = no_bf16(gpu) if dtype == "bfloat16" else ""
    if dtype == "float16" and overflow:
        note = f"float16 was asked for, and {overflow}: take --dtype float32, or bfloat16 on a card that has it"
    return dtype, (f"precision: {note}",) if note else ()
