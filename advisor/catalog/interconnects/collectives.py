"""Seconds of a collective by topology: interpolated in measured tables, else from a link's rate, with its range.

The data sheet's interconnect figure is the sum of both directions and not what a collective gets; it is not used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from advisor import store
from advisor.domain.hardware import Gpu, Source
from advisor.domain.stored import Stored, Value
from advisor.domain.units import Basis
from advisor.errors import BadRequest

FOLDER: Final = Path(__file__).parent
Collective = Literal["all_gather", "reduce_scatter", "all_reduce"]
MEASURED_SPREAD: Final = 0.25
"""Relative range of a measured table on another machine of its kind: releases of NCCL differ by so much there."""
ACROSS: Final = {"all_gather": 1.0, "reduce_scatter": 1.0, "all_reduce": 2.0}
"""Times that a rank's bytes cross the network in a collective (NCCL tests' PERFORMANCE.md)."""


class MeasuredTimes(Value):
    """Microseconds of one collective among `ranks` cards of a machine, by size."""

    collective: Collective
    ranks: int
    microseconds: tuple[float, ...]


class MeasuredSystem(Value):
    """One kind of machine whose collectives were measured."""

    name: str
    device: str
    nccl: str
    times: tuple[MeasuredTimes, ...]


class MeasuredCollectives(Stored):
    """The table of measured collectives; sizes double from `smallest_bytes`."""

    KIND = "collectives"

    smallest_bytes: int
    source: Source
    systems: tuple[MeasuredSystem, ...]


class Link(Value):
    """What joins the cards of one machine: measured as one of the systems, or the slowest path's rate and its range."""

    name: str
    measured_as: str = ""
    bus_bytes_s: float | None = Field(None, gt=0)
    low: float | None = Field(None, gt=0)
    high: float | None = Field(None, gt=0)
    latency_s: float = 0.0
    between: str
    says: str
    source: Source | None = None


class Network(Value):
    """What joins machines, as bytes a second for each card at once."""

    name: str
    bytes_s_per_gpu: float = Field(gt=0)
    low: float = Field(gt=0)
    high: float = Field(gt=0)
    latency_s: float
    says: str
    source: Source


class Links(Stored):
    """Links within machines, and networks between them."""

    KIND = "links"

    links: tuple[Link, ...]
    networks: tuple[Network, ...]


@lru_cache(maxsize=1)
def _tables() -> tuple[MeasuredCollectives, Links]:
    return store.read(MeasuredCollectives, FOLDER / "nccl_tests.json"), store.read(Links, FOLDER / "links.json")


@dataclass(frozen=True, slots=True)
class Exchange:
    """How `gpus` cards on `nodes` machines exchange data."""

    gpus: int
    nodes: int
    link: Link
    network: Network
    system: MeasuredSystem | None
    smallest_bytes: int

    @property
    def basis(self) -> Basis:
        return "modelled" if self.system is not None and self.nodes == 1 else "assumed"

    @property
    def says(self) -> str:
        within = f"collectives as measured on {self.system.device}" if self.system is not None else self.link.says
        return within if self.nodes == 1 else f"{within}; between machines {self.network.says}"

    def seconds(self, collective: Collective, size: float) -> tuple[float, float, float]:
        """(low, likely, high) seconds of one collective of `size` bytes: of an all-gather, those of its output."""
        inside = self.gpus // self.nodes
        within = self._within(collective, size, inside) if inside > 1 else (0.0, 0.0, 0.0)
        if self.nodes == 1 or not size:
            return within
        share = size / inside * (self.nodes - 1) / self.nodes * ACROSS[collective]
        rates = self.network.high, self.network.bytes_s_per_gpu, self.network.low
        start = self.network.latency_s * math.log2(2 * self.nodes)
        low, mid, high = (near + start + share / rate for near, rate in zip(within, rates, strict=True))
        return low, mid, high

    def _within(self, collective: Collective, size: float, ranks: int) -> tuple[float, float, float]:
        if self.system is not None:
            mid = _measured(self.system.times, self.smallest_bytes, collective, size, ranks)
            return mid * (1 - MEASURED_SPREAD), mid, mid * (1 + MEASURED_SPREAD)
        assert self.link.bus_bytes_s is not None
        moved = size * (ranks - 1) / ranks * ACROSS[collective]
        rates = self.link.high or self.link.bus_bytes_s, self.link.bus_bytes_s, self.link.low or self.link.bus_bytes_s
        low, mid, high = (self.link.latency_s + moved / rate for rate in rates)
        return low, mid, high


def _measured(times: Sequence[MeasuredTimes], smallest: int, collective: Collective, size: float, ranks: int) -> float:
    """Seconds interpolated in the logarithms of size and of the number of ranks; beyond the ends as at the ends."""
    known = sorted((t for t in times if t.collective == collective), key=lambda t: t.ranks)
    at = [(t.ranks, _at_size(t.microseconds, smallest, size)) for t in known]
    if ranks <= at[0][0]:
        return at[0][1]
    for (fewer, short), (more, long) in pairwise(at):
        if ranks <= more:
            part = math.log(ranks / fewer) / math.log(more / fewer)
            return math.exp(math.log(short) * (1 - part) + math.log(long) * part)
    return at[-1][1]


def _at_size(microseconds: Sequence[float], smallest: int, size: float) -> float:
    place = math.log2(max(size, 1.0) / smallest)
    if place <= 0:
        return microseconds[0] * 1e-6
    if place >= len(microseconds) - 1:
        # bandwidth alone counts there
        return microseconds[-1] * 1e-6 * size / (smallest * 2 ** (len(microseconds) - 1))
    below = int(place)
    part = place - below
    return math.exp(math.log(microseconds[below]) * (1 - part) + math.log(microseconds[below + 1]) * part) * 1e-6


def exchange_of(gpu: Gpu, gpus: int, nodes: int) -> Exchange:
    """The links of such cards: their own measured machine, else that of their interconnect; bridges are not assumed."""
    measured, links = _tables()
    link = next(link for link in links.links if link.name == _link_of(gpu))
    names = (_own_system(gpu), link.measured_as)
    system = next((one for name in names if name for one in measured.systems if one.name == name), None)
    network = next(network for network in links.networks if network.name == link.between)
    return Exchange(gpus, nodes, link, network, system, measured.smallest_bytes)


def _own_system(gpu: Gpu) -> str:
    name = gpu.name.lower().replace("-", "_")
    own = {"h200_sxm": "h200_sxm", "b300": "b300_sxm", "gb200": "gb200", "gb300": "gb300", "l40s": "l40s"}
    return own.get(name, "")


def _link_of(gpu: Gpu) -> str:
    """The name of the link in the table.

    Raises:
        BadRequest: cards of this kind are joined by something whose speed is not in the table.
    """
    said = (gpu.interconnect or "").lower()
    if "bridge" not in said:
        for number in ("5", "4", "3", "2"):
            if f"nvlink{number}" in said:
                return f"nvlink{number}"
        if "xgmi" in said:
            return "xgmi"
    if gpu.name.startswith(("RTX-30", "RTX-40", "RTX-50", "RTX-20", "GTX")) and "Ada" not in gpu.name:
        return "consumer"
    for bus in ("pcie5", "pcie4", "pcie3"):
        if bus in said:
            return bus
    if "bridge" in said:
        # the data sheet tells the bridge alone, which is not assumed; the slower of the two buses such cards have
        return "pcie4"
    raise BadRequest(
        f"how fast several {gpu.name} exchange gradients is not known",
        cause=f"they are joined by {gpu.interconnect or 'an unknown link'}, of which no measurement is here",
        hints=["one card can be asked about: leave out --gpus", "what joins the others: advisor gpus NAME"],
    )
