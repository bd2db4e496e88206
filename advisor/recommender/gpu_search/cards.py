"""Which cards `--gpu any` or `--gpu L4,A10G` means, and which of them are out before any arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from advisor.catalog.gpus import find_gpu, gpus
from advisor.catalog.gpus.described_card import memory_in
from advisor.catalog.prices import offers
from advisor.domain.hardware import Gpu
from advisor.domain.recommendation import GpuOption
from advisor.domain.request.verb_options import names_in
from advisor.domain.units import gib
from advisor.errors import BadRequest, DoesNotFit
from advisor.estimator.gpu_request import AUTO, gpu_asked
from advisor.recommender.recommend_request import RecommendRequest

ANY: Final = "any"
"""Said instead of a GPU's name: every card of the catalogue that somebody rents out."""


@dataclass(frozen=True, slots=True)
class MachineAsked:
    """So many of a card to price, how its name was read, and the machine's cheapest hour in USD where one is known."""

    gpu: Gpu
    note: str
    usd_per_hour: float | None
    count: int = 1


@dataclass(frozen=True, slots=True)
class CardsAsked:
    """The cards to price, those turned away, and how many cards nobody has a price for."""

    cards: tuple[MachineAsked, ...]
    refused: tuple[GpuOption, ...]
    unpriced: tuple[str, ...]


def several_asked(request: RecommendRequest) -> bool:
    """Whether the question is which GPU to take; a limit on cards alone asks that too.

    Raises:
        BadRequest: one GPU is described or priced, and several are asked about.
    """
    named = names_in(request.gpu or "")
    limited = request.gpu_memory_max is not None or request.max_usd_per_hour is not None
    several = len(named) > 1 or any(name.lower() == ANY for name in named)
    if not several and not limited and request.max_gpus > 1:
        return True
    if not several:
        if limited and named:
            raise BadRequest(
                "--gpu-memory-max and --max-usd-per-hour choose among several GPUs, and one is named",
                hints=["to search: --gpu any, or --gpu L4,A10G,RTX-4090"],
            )
        return limited
    for option, value in (
        ("--gpu-memory", request.gpu_memory),
        ("--gpu-like", request.gpu_like),
        ("--usd-per-hour", request.usd_per_hour),
    ):
        if value is not None:
            raise BadRequest(
                f"{option} describes one GPU, and several are asked about",
                hints=["to give prices of your own for several: a price file, see advisor prices --help"],
            )
    return True


def cards_asked(request: RecommendRequest) -> CardsAsked:
    """The cards meant.

    Raises:
        UnknownName: a name that means no GPU.
        BadRequest: a size no GPU has.
        DoesNotFit: no card keeps the limits on memory and price.
    """
    most = None if request.gpu_memory_max is None else memory_in(request.gpu_memory_max)
    cards: list[MachineAsked] = []
    refused: list[GpuOption] = []
    unpriced: list[str] = []
    named = [name for name in names_in(request.gpu or ANY) if name.lower() != ANY]
    for gpu, note in _meant(request, named):
        for count in _counts(request.max_gpus):
            hourly = _usd_per_hour(gpu, count, request)
            if hourly is None and (count > 1 or not named):
                if count == 1:
                    unpriced.append(gpu.name)
                continue
            reason = _turned_away(gpu, hourly, most, request.max_usd_per_hour)
            if reason:
                refused.append(GpuOption(gpu=gpu.name, gpu_count=count, usd_per_hour=hourly, refusal=reason))
            else:
                cards.append(MachineAsked(gpu, note, hourly, count))
    if not cards:
        raise DoesNotFit(
            "no GPU keeps the limits on memory and price",
            cause="; ".join(f"{one.gpu}: {one.refusal}" for one in refused[:3]),
            hints=["to see memory and prices: advisor gpus, advisor prices"],
            refused=[one.model_dump(mode="json") for one in refused],
        )
    return CardsAsked(tuple(cards), tuple(refused), tuple(unpriced))


def _meant(request: RecommendRequest, named: list[str]) -> list[tuple[Gpu, str]]:
    if not named:
        return [(gpu, "") for gpu in gpus()]
    if request.gpu_memory is not None or request.gpu_like is not None or named == [AUTO]:
        return [gpu_asked(request.gpu, request.gpu_memory, request.gpu_like)]
    return list({gpu.name: (gpu, note) for gpu, note in map(find_gpu, named)}.values())


def _counts(most: int) -> list[int]:
    """1, 2, 4 ... GPUs: what machines are rented with, and what divides batches."""
    return [2**power for power in range(most.bit_length()) if 2**power <= most]


def _usd_per_hour(gpu: Gpu, count: int, request: RecommendRequest) -> float | None:
    if request.usd_per_hour is not None:
        return request.usd_per_hour * count
    found = [price.per_gpu(spot=request.spot) for price in offers(gpu.name, count)]
    return min((usd * count for usd in found if usd is not None), default=None)


def _turned_away(gpu: Gpu, hourly: float | None, most_bytes: int | None, most_usd: float | None) -> str:
    if most_bytes is not None and gpu.usable_bytes > most_bytes:
        return f"holds {gib(gpu.memory_bytes)}, more than --gpu-memory-max"
    if most_usd is None:
        return ""
    if hourly is None:
        return "no price is known, so --max-usd-per-hour cannot be checked"
    return f"costs {hourly:.2f} USD an hour at least, more than --max-usd-per-hour" if hourly > most_usd else ""
