"""Prices read anew by gpuhunt, which collects what clouds publish, into the user's data folder: a file a provider."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date
from importlib.util import find_spec
from typing import Final

from advisor import store
from advisor.catalog.gpus import find_gpu
from advisor.catalog.prices.list_reader import ListedOffer, ProvidersList, read_lists
from advisor.catalog.prices.price_lookup import PriceList, refreshed_folder, shipped_prices
from advisor.domain.hardware import REFRESH_PRICES, Price
from advisor.domain.stored import Value
from advisor.domain.units import GIB
from advisor.errors import BadFile, BadRequest, MissingExtra

PROVIDERS: Final = {
    "aws": "aws",
    "azure": "azure",
    "gcp": "gcp",
    "lambdalabs": "lambda",
    "nebius": "nebius",
    "oci": "oci",
    "runpod": "runpod",
    "verda": "verda",
}
"""What gpuhunt calls a provider whose list it publishes, so that no account is needed -> what we do."""
ADDRESS: Final = "https://github.com/dstackai/gpuhunt"
_NEAR: Final = 0.15
"""Share by which two figures for one card's memory may differ: drivers, vendors and clouds count it differently."""


class PricesRead(Value):
    """What reading prices anew gave: rows kept by provider, and what could not be used, in words."""

    read_on: date
    rows: dict[str, int]
    notes: tuple[str, ...] = ()


def refresh_prices(today: date | None = None) -> PricesRead:
    """Read every provider's list and keep it; a provider whose list cannot be read keeps the prices it had.

    `GPUHUNT_CATALOG_DIR` names a folder of gpuhunt's files (`aws.csv` ...) to read instead of the network.

    Raises:
        MissingExtra: gpuhunt is not installed.
        BadFile: no provider's list could be read (no connection), or the data folder cannot be written.
    """
    day = today or date.today()
    if find_spec("gpuhunt") is None:
        raise MissingExtra.of("gpuhunt", extra="prices", why="reading prices anew")
    lists = read_lists(list(PROVIDERS))
    rows: dict[str, int] = {}
    notes: list[str] = []
    reason = ""
    for theirs, ours in PROVIDERS.items():
        listed = lists.get(theirs, ProvidersList(failed="no server answered in time"))
        reason = listed.failed or reason
        found, left_out = _as_prices(ours, listed.rows, day)
        if not found:
            notes.append(
                f"{ours}: not read{f', {listed.failed}' if listed.failed else ''}; the prices known before stay"
            )
            continue
        if left_out:
            notes.append(f"{ours}: left out, not in the catalogue of GPUs: {', '.join(left_out)}")
        store.write(PriceList(prices=tuple(found)), refreshed_folder() / f"{ours}.json")
        rows[ours] = len(found)
    if not rows:
        raise BadFile(
            "no provider's prices could be read",
            cause=reason or "gpuhunt gave no rows: is there a connection?",
            hints=["is there a connection? Prices of your own need none: see advisor prices --help"],
            reason=reason,
        )
    return PricesRead(read_on=day, rows=rows, notes=tuple(notes))


def _as_prices(provider: str, items: Iterable[ListedOffer], day: date) -> tuple[list[Price], list[str]]:
    """The cheapest region of each instance on demand and at spot, and the names of cards that we do not know."""
    known = {p.instance_type: p.gpu for p in shipped_prices() if p.provider == provider}
    cheapest: dict[tuple[str, str, int, bool], ListedOffer] = {}
    left_out: set[str] = set()
    for item in items:
        gpu = known.get(item.instance_name) or _gpu_of(item.gpu_name, item.gpu_memory)
        if gpu is None:
            left_out.add(str(item.gpu_name))
            continue
        key = (item.instance_name, gpu, item.gpu_count, item.spot)
        if key not in cheapest or item.price < cheapest[key].price:
            cheapest[key] = item
    found: list[Price] = []
    for (instance, gpu, count, spot), item in cheapest.items():
        other = cheapest.get((instance, gpu, count, not spot))
        beside = other.price if other is not None and other.location == item.location else None
        if spot and beside is not None:
            continue  # it stands beside the price on demand
        found.append(_price(provider, item, gpu, day, spot_too=beside))
    return sorted(found, key=lambda p: (p.gpu, p.gpu_count, p.instance_type, p.region)), sorted(left_out)


def _price(provider: str, item: ListedOffer, gpu: str, day: date, *, spot_too: float | None) -> Price:
    return Price.model_validate(
        {
            "provider": provider,
            "instance_type": item.instance_name,
            "gpu": gpu,
            "gpu_count": item.gpu_count,
            "region": item.location,
            "region_kind": "cheapest",
            "on_demand_usd_h": None if item.spot else item.price,
            "spot_usd_h": item.price if item.spot else spot_too,
            "read_on": day,
            "source": {"address": ADDRESS, "where": f"its list of {provider}, read by {REFRESH_PRICES}"},
        }
    )


def _gpu_of(name: str | None, memory_gib: float | None) -> str | None:
    """Our name of a card: the one whose memory agrees; None where no card of that name has as much."""
    if not name:
        return None
    spaced = re.sub(r"(?<=[a-z])(?=\d{4})", " ", name, flags=re.IGNORECASE)
    for asked in _spellings(spaced, memory_gib):
        try:
            gpu, _ = find_gpu(asked)
        except BadRequest:
            continue
        if memory_gib is None or abs(gpu.memory_bytes / (memory_gib * GIB) - 1) < _NEAR:
            return gpu.name
    return None


def _spellings(name: str, memory_gib: float | None) -> Sequence[str]:
    return [name] if memory_gib is None else [f"{name} {memory_gib:.0f}GB", name]
