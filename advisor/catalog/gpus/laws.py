"""What figures of an accelerator can be: bounds and ratios that every card built so far keeps.

They catch slips of the pen (GB for MB, a sparse rate, a rate per hour); a card that breaks one is refused with the
field's name. The bounds hold for all files of the catalogue, which a test checks, with room for some years to come.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from advisor.domain.hardware import Gpu
from advisor.domain.units import GIB

BOUNDS: Final[dict[str, tuple[float, float, str]]] = {
    "memory_bytes": (1 * GIB, 600 * GIB, "bytes"),
    "usable_bytes": (0.5 * GIB, 600 * GIB, "bytes"),
    "bandwidth_bytes_s": (1e10, 3e13, "bytes/s"),
    "fp32_flop_s": (1e11, 1e15, "FLOP/s"),
    "tf32_flop_s": (1e12, 5e15, "FLOP/s"),
    "bf16_flop_s": (1e12, 1e16, "FLOP/s"),
    "fp8_flop_s": (2e12, 2e16, "FLOP/s"),
    "int8_op_s": (1e12, 4e16, "OP/s"),
    "interconnect_bytes_s": (1e9, 1e13, "bytes/s"),
    "tdp_w": (5, 3000, "watt"),
    "compute_capability": (3.5, 20, ""),
}
"""Least, most and unit of each figure."""

RATIOS: Final[tuple[tuple[str, str, float, float, str], ...]] = (
    ("bf16_flop_s", "fp32_flop_s", 0.9, 40, "half precision is never slower, and never 40 times as fast"),
    ("bf16_flop_s", "tf32_flop_s", 1, 8, "TF32 halves the tensor rate of half precision"),
    ("fp8_flop_s", "bf16_flop_s", 1, 4.1, "FP8 doubles the tensor rate of half precision"),
    ("measured_bf16_flop_s", "bf16_flop_s", 0.3, 1, "nobody measured more than the dense peak"),
    ("bf16_flop_s", "bandwidth_bytes_s", 15, 1500, "FLOP for each byte read"),
    ("usable_bytes", "memory_bytes", 0.5, 1, "what a framework can allocate is a part of what there is"),
)
"""Numerator, denominator, least, most, why."""

BF16_FROM: Final = 8.0
FP8_FROM: Final = 8.9
"""Compute capabilities from which tensor cores take these types.

Source: CUDA C++ Programming Guide, "Compute Capabilities", table of features by compute capability.
"""


def faults(gpu: Gpu) -> Iterator[tuple[str, str]]:
    """Each figure that cannot be: its field, and what is wrong with it."""
    for field, (least, most, unit) in BOUNDS.items():
        value: float | None = getattr(gpu, field)
        if value is not None and not least <= value <= most:
            yield field, f"{value:g} {unit} is not between {least:g} and {most:g}: no accelerator has that".strip()
    for above, below, least, most, why in RATIOS:
        one: float | None = getattr(gpu, above)
        other: float | None = getattr(gpu, below)
        if one is None or other is None or not other > 0:
            continue
        if not least <= one / other <= most:
            yield above, f"{one:g} is {one / other:.3g} times {below} ({other:g}), not {least:g} to {most:g}: {why}"
    yield from _of_nvidia(gpu)


def _of_nvidia(gpu: Gpu) -> Iterator[tuple[str, str]]:
    capability = gpu.compute_capability
    if gpu.vendor != "nvidia" or capability is None:
        return
    if gpu.bf16_supported is not None and gpu.bf16_supported != (capability >= BF16_FROM):
        yield "bf16_supported", f"compute capability {capability:g}: bfloat16 comes with {BF16_FROM:g}"
    if gpu.fp8_flop_s is not None and capability < FP8_FROM:
        yield "fp8_flop_s", f"compute capability {capability:g}: FP8 comes with {FP8_FROM:g}"
    if gpu.tf32_flop_s is not None and capability < BF16_FROM:
        yield "tf32_flop_s", f"compute capability {capability:g}: TF32 comes with {BF16_FROM:g}"
