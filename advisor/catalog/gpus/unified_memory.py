"""Chips that share the machine's memory: how much there is depends on the machine, so the user names it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from advisor.domain.hardware import Gpu, Source
from advisor.domain.stored import Stored
from advisor.domain.units import GIB
from advisor.errors import BadRequest

SIZES_GIB = (8, 2048)
"""Below and above these no such machine is sold; outside is a slip of the pen."""


class UnifiedChip(Stored):
    """A `Gpu` without the memory: same figures and units."""

    KIND = "unified-chip"

    name: str
    vendor: str
    generation: str
    aliases: tuple[str, ...] = ()
    bandwidth_bytes_s: float | None = Field(None, gt=0)
    fp32_flop_s: float | None = Field(None, gt=0)
    bf16_flop_s: float | None = Field(None, gt=0)
    bf16_supported: bool | None = None
    interconnect: str | None = None
    tdp_w: float | None = Field(None, gt=0)
    measured_bf16_flop_s: float | None = Field(None, gt=0)
    usable_share: float = Field(2 / 3, gt=0, le=1, description="of the machine's memory, what the system grants a GPU")
    usable_why: str = "assumed: two thirds of the unified memory; torch.mps.recommended_max_memory() tells the truth"
    confidence: Literal["high", "medium", "low"] = "low"
    sources: tuple[Source, ...] = ()
    notes: str = ""

    def with_memory(self, size_gib: int) -> Gpu:
        """The chip in a machine of `size_gib` GiB.

        A share of it counts as usable, an assumption said in `usable_why`: the system decides how much of the
        memory it grants the GPU.

        Raises:
            BadRequest: no such machine.
        """
        if not SIZES_GIB[0] <= size_gib <= SIZES_GIB[1]:
            raise BadRequest(
                f"no machine with {self.name} has {size_gib} GB of memory",
                hints=[f"to say how much yours has: {self.name}-32GB"],
                gpu=self.name,
                memory_gib=size_gib,
            )
        shared: dict[str, Any] = self.model_dump(exclude={"name", "usable_share"})
        return Gpu(
            **shared,
            name=f"{self.name}-{size_gib}GB",
            memory_bytes=size_gib * GIB,
            usable_bytes=int(size_gib * GIB * self.usable_share),
        )
