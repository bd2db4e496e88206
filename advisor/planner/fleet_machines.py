"""The pools of a fleet's file as machines: GPUs found in the catalogue, prices from the contract or the catalogue."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final

from advisor.catalog.gpus import find_gpu
from advisor.catalog.prices import offers
from advisor.domain.units import HOUR
from advisor.errors import BadRequest
from advisor.estimator.spending.interruptions import interruptions_asked
from advisor.planner.files.fleet_file import FleetFile, Pool
from advisor.planner.solver.opening_hours import Calendar, open_spans
from advisor.planner.solver.problem import Machines

SUFFIXES: Final = {"owned": "owned", "on-demand": "rented", "spot": "spot"}
"""What a pool without a name is called after its GPU."""


def machines_of(fleet: FleetFile, start: datetime) -> tuple[tuple[Machines, ...], list[str]]:
    """Each pool as the solver sees it, with notes on names and prices.

    Raises:
        UnknownName: a GPU that the catalogue does not have.
        BadRequest: two pools of one name, or one whose price nobody knows.
        BadFile: the user's price file cannot be read.
    """
    made: list[Machines] = []
    notes: list[str] = []
    for pool in fleet.gpus:
        gpu, note = find_gpu(pool.gpu)
        name = pool.name or f"{gpu.name}-{SUFFIXES[pool.kind]}"
        if any(name == other.name for other in made):
            raise BadRequest(
                f"two pools of the fleet are called {name}", hints=["give each a name of its own: name: ..."], name=name
            )
        usd, price = _price(pool, gpu.name, name)
        notes += [f"GPU: {gpu.name} ({note})"] if note else []
        notes += [f"price: {name}: {price}"] if "over 90 days" in price or "counted" in price else []
        made.append(
            Machines(
                name=name,
                gpu=gpu.name,
                limit=pool.limit,
                usd_per_second=usd / HOUR,
                price=price,
                calendar=Calendar.from_start(open_spans(pool.hours, pool.days), start),
                restart_seconds=(pool.restart_minutes or 0.0) * 60,
                interruptions=interruptions_asked(pool) if pool.kind == "spot" else None,
            )
        )
    return tuple(made), notes


def _price(pool: Pool, gpu: str, name: str) -> tuple[float, str]:
    """USD an hour for one device, and where that comes from."""
    if pool.usd_per_hour is not None:
        return pool.usd_per_hour, "given in the fleet's file"
    if pool.kind == "owned":
        return 0.0, "owned and without usd_per_hour: counted as no money"
    spot = pool.kind == "spot"
    known = [
        (price.stale(date.today(), spot=spot), usd, price)
        for price in offers(gpu, 1)
        if (usd := price.per_gpu(spot=spot)) is not None and pool.provider.lower() in ("", price.provider.lower())
    ]
    if not known:
        whose = f" of {pool.provider}" if pool.provider else ""
        raise BadRequest(
            f"no {'spot' if spot else 'on-demand'} price{whose} is known for one {gpu}",
            hints=[
                f"to give yours, in the fleet's file: usd_per_hour: ...  ({name})",
                f"to list: advisor prices {gpu}",
            ],
            gpu=gpu,
            pool=name,
        )
    stale, usd, price = min(known, key=lambda one: (one[0], one[1]))
    read = price.spot_read_on if spot and price.spot_read_on else price.read_on
    old = ", over 90 days old" if stale else ""
    return usd, f"{price.provider}{' spot' if spot else ''}, read {read or 'on an unknown day'}{old}"
