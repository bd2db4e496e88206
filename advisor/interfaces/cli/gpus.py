"""`advisor gpus [SEARCH]`: the accelerators of the catalogue."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import rich_click as click

from advisor.domain.request.catalogue_options import GpusCommand
from advisor.domain.units import gib
from advisor.interfaces.cli.click_options import options_of
from advisor.interfaces.cli.output import emit, fitted

if TYPE_CHECKING:
    from advisor.catalog.gpus.unified_memory import UnifiedChip
    from advisor.domain.hardware import Gpu, Price

    Row = tuple[Gpu | UnifiedChip, Price | None]

HEADINGS = ("GPU", "made by", "memory", "usable", "bandwidth", "bf16", "tf32", "watt", "from USD/h", "figures")
FIRST_OUT = ("figures", "tf32", "usable", "watt", "made by")
RIGHT = "memory,usable,bandwidth,bf16,tf32,watt,from USD/h"


@click.command("gpus")
@click.argument("search", required=False, default="")
@options_of(GpusCommand)
def command(search: str, template: bool, add: str | None, as_json: bool) -> None:
    """List and search the GPUs of the catalogue, and add your own.

    A search looks into names, aliases, makers and generations. Tensor rates are dense, in TFLOP/s;
    bandwidth in GB/s. The price is the cheapest known of a machine with one such GPU; * marks one older
    than 90 days or undated. A single match is shown with its sources.

    A card that is not listed can be described in a file: --template prints one with what each field means,
    --add reads it back, refuses figures that no card has, and keeps it in your data folder, where a card of the
    same name replaces ours. For one question, --gpu-memory and --gpu-like of the other verbs do.

    \b
    Examples:
      advisor gpus h100
      advisor gpus "NVIDIA L40S" --json
      advisor gpus --template
    """
    if template:
        _print_template()
        return
    from advisor.catalog.gpus import listing
    from advisor.catalog.gpus.unified_memory import UnifiedChip
    from advisor.catalog.prices import cheapest

    entries = listing(search) if add is None else (_added(add),)
    rows = [(entry, None if isinstance(entry, UnifiedChip) else cheapest(entry.name)) for entry in entries]
    if as_json:
        emit([_document(row) for row in rows], True)
    else:
        emit(rows, False, table=_shown)


def _print_template() -> None:
    from advisor.catalog.gpus.own_cards import template

    click.echo(json.dumps(template(), indent=1, ensure_ascii=False))


def _added(path: str) -> Gpu | UnifiedChip:
    """Keep the card of a file among the user's own."""
    from advisor.catalog.gpus.gpu_lookup import forget, own_folder
    from advisor.catalog.gpus.own_cards import add_card

    entry, place = add_card(path, own_folder())
    forget()
    click.echo(f"{entry.name} is kept in {place}", err=True)
    return entry


def _document(row: Row) -> dict[str, Any]:
    entry, price = row
    return {**entry.to_document(), "cheapest_offer": price and price.model_dump(mode="json")}


def _shown(rows: Sequence[Row]) -> list[Any]:
    cells = [_cells(row, date.today()) for row in rows]
    parts: list[Any] = list(fitted(HEADINGS, cells, first_out=FIRST_OUT, right=RIGHT))
    if len(rows) == 1:
        parts.append(_details(rows[0]))
    return parts


def _cells(row: Row, today: date) -> list[str | None]:
    entry, price = row
    memory: int | None = getattr(entry, "memory_bytes", None)
    usd = price and (price.on_demand_usd_h or price.spot_usd_h)
    return [
        entry.name,
        entry.vendor,
        "shared" if memory is None else gib(memory),
        None if memory is None else gib(getattr(entry, "usable_bytes", memory)),
        _scaled(entry.bandwidth_bytes_s, 1e9),
        _scaled(getattr(entry, "bf16_flop_s", None), 1e12),
        _scaled(getattr(entry, "tf32_flop_s", None), 1e12),
        _scaled(getattr(entry, "tdp_w", None), 1),
        f"{usd:.2f}{'*' if price.stale(today) else ''}" if price and usd else None,
        entry.confidence,
    ]


def _scaled(value: float | None, unit: float) -> str | None:
    return None if value is None else f"{value / unit:,.0f}"


def _details(row: Row) -> str:
    """Aliases, notes and sources of the one match."""
    entry, price = row
    lines = [f"also called: {', '.join(entry.aliases)}"] if entry.aliases else []
    if why := getattr(entry, "usable_why", ""):
        lines.append(f"usable memory: {why}")
    if entry.notes:
        lines.append(f"notes: {entry.notes}")
    if price:
        lines.append(f"cheapest: {price.provider} {price.instance_type}, read {price.read_on or 'on an unknown day'}")
    lines.extend(f"source: {source.address} ({source.where})" for source in entry.sources)
    return "\n".join(lines)
