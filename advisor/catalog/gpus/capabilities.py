"""What a card can run, as far as its maker and compute capability settle it: bfloat16 and the attention kernels."""

from __future__ import annotations

import re
from typing import Final

from advisor.catalog.gpus.laws import BF16_FROM
from advisor.domain.hardware import Gpu
from advisor.errors import IllegalRecipe

FLASH_2_FROM: Final = 8.0
"""FlashAttention-2 takes Ampere, Ada, Hopper and newer; Turing is served by FlashAttention 1 only.

Source: https://github.com/Dao-AILab/flash-attention, README, "NVIDIA CUDA Support".
"""
FLASH_3_ON: Final = (9.0,)
"""FlashAttention-3 is written for Hopper. Source: the same README, "FlashAttention-3 beta release"."""
_FLASH_ON_AMD: Final = re.compile(r"CDNA[234]|RDNA[34]")
"""Composable Kernel serves MI200 and newer, Triton RDNA. Source: the same README, "AMD ROCm Support"."""


def half_precision(gpu: Gpu) -> str:
    """The 16-bit type that the card's matrix units take: bfloat16, or float16 where they do not know it."""
    return "float16" if gpu.bf16_supported is False else "bfloat16"


def no_bf16(gpu: Gpu) -> str:
    """The note for bfloat16 asked on a card without it; "" where the card has it, or nobody knows."""
    if gpu.bf16_supported is not False:
        return ""
    capability = "" if gpu.compute_capability is None else f" (compute capability {gpu.compute_capability:g}"
    needs = f"{capability}, bfloat16 needs {BF16_FROM:g})" if capability else ""
    return f"{gpu.name} has no bfloat16{needs}: PyTorch emulates it without tensor cores, at the fp32 rate at best"


def attention_refusal(gpu: Gpu, attention: str) -> str:
    """Why the card cannot run an attention kernel; "" where it can, or where it asks nothing of the card."""
    name = attention.rsplit("/", 1)[-1].replace("-", "_")
    if name not in ("flash_attention_2", "flash_attention_3"):
        return ""
    third = name.endswith("3")
    title = f"FlashAttention-{name[-1]}"
    if gpu.vendor == "amd" and not third:
        on_amd = _FLASH_ON_AMD.fullmatch(gpu.generation.split(".")[0])
        return "" if on_amd else f"{title} needs CDNA2 or RDNA3 on AMD, and {gpu.name} is {gpu.generation}"
    if gpu.vendor != "nvidia":
        return f"{title} is written for {'NVIDIA Hopper' if third else 'NVIDIA and AMD GPUs'}, and {gpu.name} is none"
    capability = gpu.compute_capability
    if capability is None:
        return ""
    if third:
        return "" if capability in FLASH_3_ON else f"{title} needs Hopper, and {gpu.name} is {gpu.generation}"
    if capability >= FLASH_2_FROM:
        return ""
    return (
        f"{title} needs Ampere or newer, and {gpu.name} is {gpu.generation} (compute capability {capability:g}, "
        f"it needs {FLASH_2_FROM:g})"
    )


def check_attention(gpu: Gpu, attention: str) -> None:
    """Refuse an attention kernel that the card cannot run.

    Raises:
        IllegalRecipe: with the reason and the nearest legal choice.
    """
    reason = attention_refusal(gpu, attention)
    if reason:
        raise IllegalRecipe(
            reason,
            hints=["nearest legal choice: --attn-implementation sdpa"],
            field="attn_implementation",
            gpu=gpu.name,
        )
