"""Steps to hours to USD. A missing price is no cost at all, never 0."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from advisor.domain.candidate import Money, Offer
from advisor.domain.hardware import REFRESH_PRICES, STALE_DAYS, Hardware, Price
from advisor.domain.quantity import Quantity
from advisor.domain.units import HOUR


def money_of(
    training: Quantity | None,
    hardware: Hardware,
    offers: Sequence[Price],
    *,
    today: date,
    on_spot: Quantity | None = None,
    listed: int = 5,
) -> Money:
    """What the training costs at each offer.

    Args:
        training: seconds of the whole training; None when the number of samples is unknown: no cost then.
        offers: priced instances of this GPU. One that holds another number of devices than asked for is left out:
            eight devices are not a single-device offer. The user's own price (`hardware.usd_per_hour`) comes first.
        on_spot: seconds of it on a machine that may be taken away; None where nobody said how often that happens.
        listed: how many offers of each kind to list, cheapest first.
    """
    own = _own_price(hardware, today)
    each = hardware.count // hardware.nodes
    fitting = [own] if own else [_of_all(p, hardware.nodes) for p in offers if p.gpu_count == each]
    on_demand = _offers(fitting, training, today, spot=False, listed=listed)
    spot = _offers(fitting, on_spot or training, today, spot=True, listed=listed, uninterrupted=on_spot is None)
    notes: list[str] = []
    if not on_demand and not spot:
        notes.append(f"no price is known for {hardware.count} x {hardware.gpu.name}")
    if training is None:
        notes.append("without a number of samples there is no training time and so no cost")
    asked = on_demand or spot
    if asked and asked[0].stale:
        kind, read = "on-demand" if on_demand else "spot", asked[0].read_on or "on an unknown day"
        notes.append(
            f"the {kind} price is older than {STALE_DAYS} days (read {read}); to read prices anew: {REFRESH_PRICES}"
        )
    return Money(
        on_demand=on_demand[0].cost if on_demand else None,
        on_demand_read_on=on_demand[0].read_on if on_demand else None,
        spot=spot[0].cost if spot else None,
        spot_read_on=spot[0].read_on if spot else None,
        offers=(*on_demand, *spot),
        note="; ".join(notes),
    )


def _of_all(price: Price, nodes: int) -> Price:
    """An offer of one machine as that of several."""
    if nodes == 1:
        return price
    whole = {name: None if usd is None else usd * nodes for name, usd in _hourly(price).items()}
    return price.model_copy(update={**whole, "gpu_count": price.gpu_count * nodes})


def _hourly(price: Price) -> dict[str, float | None]:
    return {"on_demand_usd_h": price.on_demand_usd_h, "spot_usd_h": price.spot_usd_h}


def _own_price(hardware: Hardware, today: date) -> Price | None:
    if hardware.usd_per_hour is None:
        return None
    return Price.model_validate(
        {
            "provider": "your own",
            "instance_type": "",
            "gpu": hardware.gpu.name,
            "gpu_count": hardware.count,
            "region": "",
            "on_demand_usd_h": hardware.usd_per_hour,
            # with interruptions said it is what a spot machine costs as well
            "spot_usd_h": hardware.usd_per_hour if hardware.interruptions is not None else None,
            "read_on": today,
            "source": {"address": "given with the question"},
            "override": True,
        }
    )


def _offers(
    prices: Sequence[Price],
    training: Quantity | None,
    today: date,
    *,
    spot: bool,
    listed: int,
    uninterrupted: bool = False,
) -> list[Offer]:
    """The first offers of one kind, fresh before stale, each group cheapest first."""
    asked = [
        (not price.override, price.stale(today, spot=spot), hourly, price)
        for price in prices
        if (hourly := price.spot_usd_h if spot else price.on_demand_usd_h) is not None
    ]
    asked.sort(key=lambda one: one[:3])
    made: list[Offer] = []
    # a value for each offer of a card, most of them never told, would be half of what a known price takes
    for _, stale, hourly, price in asked[:listed]:
        read_on = (price.spot_read_on if spot else None) or price.read_on
        why = f"{hourly:.2f} USD/h, {price.provider}{' spot' if spot else ''}, read {read_on or 'on an unknown day'}"
        why += f", over {STALE_DAYS} days old" if stale and read_on else ""
        why += ", never interrupted" if uninterrupted else ""
        cost = None if training is None else training.times(hourly / HOUR, "USD", why)
        made.append(Offer(price=price, spot=spot, usd_per_hour=hourly, cost=cost, stale=stale, read_on=read_on))
    return made
