"""On what: an accelerator as catalogued, its price, and how many of them."""

from __future__ import annotations

from datetime import date
from typing import Final, Literal

from pydantic import Field

from advisor.domain.request.vocabulary import Sharding
from advisor.domain.stored import Stored, Value

STALE_DAYS: Final = 90
"""Days after which a price counts as old."""
REFRESH_PRICES: Final = "advisor prices --refresh"
"""What reads prices anew."""


class Source(Value):
    """Where a figure was read: an address, and the place in it."""

    address: str
    where: str = ""


class Gpu(Stored):
    """One accelerator of the catalogue. Tensor rates are dense with fp32 accumulation, in FLOP/s; memory in bytes.

    `None` is unknown, never 0: what needs an unknown figure is refused or widened.
    """

    KIND = "gpu"

    name: str
    vendor: str
    generation: str
    aliases: tuple[str, ...] = ()
    memory_bytes: int = Field(gt=0, description="as the driver reports it")
    usable_bytes: int = Field(gt=0, description="what a framework can allocate, before its own context")
    usable_why: str = ""
    bandwidth_bytes_s: float | None = Field(None, gt=0)
    fp32_flop_s: float | None = Field(None, gt=0)
    tf32_flop_s: float | None = Field(None, gt=0)
    bf16_flop_s: float | None = Field(None, gt=0, description="bf16 and fp16 share one rate on every card here")
    fp8_flop_s: float | None = Field(None, gt=0)
    int8_op_s: float | None = Field(None, gt=0)
    bf16_supported: bool | None = None
    compute_capability: float | None = None
    interconnect: str | None = None
    interconnect_bytes_s: float | None = None
    tdp_w: float | None = None
    measured_bf16_flop_s: float | None = Field(None, description="best dense matmul somebody measured")
    confidence: Literal["high", "medium", "low"] = "medium"
    sources: tuple[Source, ...] = ()
    notes: str = ""
    like: str | None = Field(None, description="described by the user: the card whose rates stand in for its own")


class Price(Value):
    """What one provider asked on one day, in USD an hour for the whole instance of `gpu_count` devices."""

    provider: str
    instance_type: str
    gpu: str
    gpu_count: int = Field(ge=1)
    region: str
    region_kind: Literal["default", "cheapest", "median", "average", "newest", "other"] = Field(
        "default", description="median and average sum up several offers; nobody sells at them"
    )
    on_demand_usd_h: float | None = Field(None, gt=0)
    spot_usd_h: float | None = Field(None, gt=0)
    read_on: date | None = None
    spot_read_on: date | None = Field(None, description="day of the spot price where it was read on another day")
    source: Source
    confidence: Literal["high", "medium", "low"] = "medium"
    note: str = ""
    override: bool = Field(False, description="from the user's own price file")

    def per_gpu(self, *, spot: bool) -> float | None:
        """USD an hour for one device, None when this offer has no such price."""
        whole = self.spot_usd_h if spot else self.on_demand_usd_h
        return None if whole is None else whole / self.gpu_count

    def stale(self, today: date, days: int = STALE_DAYS, *, spot: bool = False) -> bool:
        """Older than `days`, or undated: an undated price is never fresh. `spot` asks about the spot price."""
        read_on = self.spot_read_on or self.read_on if spot else self.read_on
        return read_on is None or (today - read_on).days > days


class Interruptions(Value):
    """Of a spot machine: how often it is taken away, and what each time costs."""

    per_hour: float = Field(ge=0, description="expected, while it runs")
    checkpoint_minutes: float = Field(gt=0, description="between checkpoints: the most that one loses")
    restart_minutes: float = Field(ge=0, description="until the training goes on")

    @property
    def per_second(self) -> float:
        return self.per_hour / 3600

    @property
    def checkpoint_seconds(self) -> float:
        return self.checkpoint_minutes * 60

    @property
    def restart_seconds(self) -> float:
        return self.restart_minutes * 60


class Hardware(Value):
    """The machine asked about: `count` devices of one kind, how it was resolved, and the memory left free."""

    gpu: Gpu
    count: int = Field(1, ge=1, le=10**5)
    nodes: int = Field(1, ge=1, le=10**5, description="machines that the devices are spread over, as many on each")
    sharding: Sharding | None = Field(None, description="how one job is spread over them; None: one device")
    asked: str = Field("", description="what the user typed")
    note: str = Field("", description="how an ambiguous name was resolved")
    headroom: float = Field(0.05, ge=0, lt=1, description="share of usable memory to keep free")
    usd_per_hour: float | None = Field(None, gt=0, description="the user's own price for the whole machine")
    interruptions: Interruptions | None = Field(None, description="on spot, as the user says; None: nobody knows")

    @property
    def limit_bytes(self) -> int:
        """What one device may hold: usable memory less the headroom (the CUDA context counts against it)."""
        return int(self.gpu.usable_bytes * (1 - self.headroom))
