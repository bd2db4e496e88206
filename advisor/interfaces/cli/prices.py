"""`advisor prices [GPU]`: what providers ask, on which day that was read, and how to read it anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import rich_click as click

from advisor.domain.request.catalogue_options import PricesCommand
from advisor.interfaces.cli.click_options import options_of
from advisor.interfaces.cli.output import emit, fitted

if TYPE_CHECKING:
    from advisor.catalog.prices.refresh import PricesRead
    from advisor.domain.hardware import Price

HEADINGS = ("GPU", "count", "USD/h", "spot", "provider", "instance", "region", "read on", "")
FIRST_OUT = ("region", "instance")


@click.command("prices")
@click.argument("gpu", required=False, default="")
@options_of(PricesCommand)
def command(gpu: str, refresh: bool, as_json: bool) -> None:
    """What a machine with a GPU costs an hour, on which day that was read, and how to read it anew.

    Prices are of whole machines. One older than 90 days, or undated, is marked old, and answers that use it say so.
    --refresh reads AWS, Azure, GCP, Lambda, Nebius, OCI, RunPod and Verda by gpuhunt into your data folder.

    Your own prices stand in ADVISOR_PRICES, or prices.json of the config folder, and come before ours:
    {"prices": [{"gpu": "L40S", "on_demand_usd_h": 0.9, "provider": "mine", "read_on": "2026-11-01"}]}

    \b
    Examples:
      advisor prices H100
      advisor prices --json
      advisor prices --refresh
    """
    if refresh:
        from advisor.catalog.prices.refresh import refresh_prices

        emit(refresh_prices(), as_json, table=_what_was_read)
        return
    from advisor.catalog.prices import prices

    rows = prices_of(gpu) if gpu else list(prices())
    today = date.today()
    if as_json:
        emit([{**row.model_dump(mode="json"), "stale": row.stale(today)} for row in rows], True)
    else:
        emit(rows, False, table=lambda rows: _shown(rows, today))


def prices_of(gpu: str) -> list[Price]:
    """Machines with any number of one GPU, cheapest first."""
    from advisor.catalog.gpus import find_gpu
    from advisor.catalog.prices import offers

    return offers(find_gpu(gpu)[0].name, 1, larger=True)


def _shown(rows: Sequence[Price], today: date) -> Iterator[Any]:
    from advisor.catalog.prices import override_path
    from advisor.domain.hardware import REFRESH_PRICES, STALE_DAYS

    cells = [
        (
            row.gpu,
            row.gpu_count,
            "" if row.on_demand_usd_h is None else f"{row.on_demand_usd_h:.2f}",
            "" if row.spot_usd_h is None else f"{row.spot_usd_h:.2f}",
            row.provider,
            row.instance_type,
            row.region,
            row.read_on or "unknown",
            "old" if row.stale(today) else "",
        )
        for row in rows
    ]
    yield from fitted(HEADINGS, cells, first_out=FIRST_OUT, right="count,USD/h,spot")
    old = sum(row.stale(today) for row in rows)
    yield f"{len(rows)} prices, {old} of them older than {STALE_DAYS} days or undated"
    if old:
        yield f"to read them anew: {REFRESH_PRICES}"
    yield f"your own prices: {override_path()}"


def _what_was_read(found: PricesRead) -> Iterator[str]:
    for provider, number in found.rows.items():
        yield f"{provider}: {number} prices, read {found.read_on}"
    yield from (f"note  {note}" for note in found.notes)
