"""Offers for a GPU, cheapest first: the catalogue's dated prices, and the user's own in their place."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from advisor import store
from advisor.catalog.gpus import find_gpu
from advisor.domain.hardware import Price
from advisor.domain.plain_values import is_list, is_object
from advisor.domain.request.validation import first_problem
from advisor.domain.stored import Stored
from advisor.errors import BadFile, BadRequest

FOLDER = Path(__file__).parent
SUMMARIES = ("median", "average")


class PriceList(Stored):
    """One provider's prices."""

    KIND = "prices"

    prices: tuple[Price, ...]


def override_path() -> Path:
    """The user's own price file: `ADVISOR_PRICES`, else `prices.json` in the config folder. It need not exist."""
    named = os.environ.get("ADVISOR_PRICES")
    return store.expanded(named) if named else store.home("config") / "prices.json"


def refreshed_folder() -> Path:
    """Where prices read anew lie, one file a provider; it may not exist yet."""
    return store.home("data") / "prices"


@functools.cache
def shipped_prices() -> tuple[Price, ...]:
    """What came with advisor."""
    return tuple(price for path in store.listing(FOLDER) for price in store.read(PriceList, path).prices)


def _refreshed() -> tuple[Price, ...]:
    folder = refreshed_folder()
    if not folder.is_dir():
        return ()
    files = [(path, path.stat()) for path in store.listing(folder)]
    return _read_refreshed(tuple((path, told.st_mtime_ns, told.st_size) for path, told in files))


@functools.lru_cache(maxsize=4)
def _read_refreshed(files: tuple[tuple[Path, int, int], ...]) -> tuple[Price, ...]:
    """The rows of files, each with its time and size, so that a changed one is read again."""
    return tuple(price for path, _, _ in files for price in store.read(PriceList, path).prices)


def prices() -> tuple[Price, ...]:
    """All prices: the user's own replace those of the same GPU and provider that were read anew, these the shipped.

    Raises:
        BadFile: the user's price file, or one read anew, cannot be read; says which row and field.
    """
    return _joined(_Tables(_own(), _refreshed(), shipped_prices()))


@dataclass(frozen=True, slots=True, eq=False)
class _Tables:
    """The tables of prices; the same while none of them was read again."""

    own: tuple[Price, ...]
    refreshed: tuple[Price, ...]
    shipped: tuple[Price, ...]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Tables):
            return NotImplemented
        mine, theirs = ((t.own, t.refreshed, t.shipped) for t in (self, other))
        return all(one is another or not (one or another) for one, another in zip(mine, theirs, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(id(rows) if rows else 0 for rows in (self.own, self.refreshed, self.shipped)))


@functools.lru_cache(maxsize=4)
def _joined(tables: _Tables) -> tuple[Price, ...]:
    found: tuple[Price, ...] = ()
    for rows in (tables.own, tables.refreshed, tables.shipped):
        replaced = {(price.gpu, price.provider) for price in found}
        found = (*found, *(price for price in rows if (price.gpu, price.provider) not in replaced))
    return found


def offers(gpu: str, count: int = 1, *, larger: bool = False) -> list[Price]:
    """What one can rent with `count` devices of a GPU, cheapest first; an empty list where no price is known.

    An instance of 8 is no offer for 1, since it is rented whole; with `larger`, instances of more devices come
    along at their whole price. Medians over regions are left out, and averages over a provider's listings
    wherever that provider has an offer of its own; of the same offer read twice the newer stays.
    Sorted by what the whole instance costs, on demand or spot, whichever is there; the user's own prices first
    among equals.

    Args:
        gpu: any name `find_gpu` understands, or as the price list has it. What is in neither has no price.
        count: devices wanted.
    Raises:
        BadRequest: `count` is not positive.
        BadFile: the user's price file cannot be read.
    """
    if count < 1:
        raise BadRequest(f"a machine has at least one GPU, not {count}", count=count)
    return list(_offered(_Tables(_own(), _refreshed(), shipped_prices()), _canonical(gpu), count, larger))


@functools.lru_cache(maxsize=1024)
def _offered(tables: _Tables, name: str, count: int, larger: bool) -> tuple[Price, ...]:
    fitting = [
        price
        for price in _joined(tables)
        if price.gpu == name and (price.gpu_count == count or (larger and price.gpu_count > count))
    ]
    order = sorted(_sold(fitting), key=lambda p: (_asked(p), not p.override, p.provider, p.instance_type, p.region))
    return tuple(order)


def _canonical(gpu: str) -> str:
    """The catalogue's name; others stay, since machines are priced, or described by users, that are not in it."""
    try:
        return find_gpu(gpu)[0].name
    except BadRequest:
        return gpu


def cheapest(gpu: str, count: int = 1) -> Price | None:
    """The first of `offers`, None where there is none."""
    return next(iter(offers(gpu, count)), None)


def _asked(price: Price) -> float:
    """USD an hour on demand, or spot where it is only sold so."""
    asked = price.on_demand_usd_h if price.on_demand_usd_h is not None else price.spot_usd_h
    return float("inf") if asked is None else asked


def _sold(found: Iterable[Price]) -> Iterable[Price]:
    """Without summaries of offers that are listed themselves, and each offer once, as last read."""
    found = list(found)
    concrete = {(price.provider, price.gpu_count) for price in found if price.region_kind not in SUMMARIES}
    newest: dict[tuple[str, str, int, str], Price] = {}
    for price in found:
        if price.region_kind in SUMMARIES and (price.provider, price.gpu_count) in concrete:
            continue
        key = (price.provider, price.instance_type, price.gpu_count, price.region)
        if key not in newest or _freshness(price) > _freshness(newest[key]):
            newest[key] = price
    return newest.values()


def _freshness(price: Price) -> tuple[date, bool]:
    """When it was read; on the same day the row that knows the spot price too says more."""
    return price.read_on or date.min, price.spot_usd_h is not None


def _own() -> tuple[Price, ...]:
    path = override_path()
    if not path.exists():
        if os.environ.get("ADVISOR_PRICES"):
            raise BadFile(
                f"there is no price file {path}",
                hints=["ADVISOR_PRICES names it: correct or unset that variable"],
                path=str(path),
                reason="missing",
            )
        return ()
    changed = path.stat()
    return _read_own(path, changed.st_mtime_ns, changed.st_size)


@functools.lru_cache(maxsize=4)
def _read_own(path: Path, mtime_ns: int, size: int) -> tuple[Price, ...]:
    """The user's rows; `mtime_ns` and `size` are there so that a changed file is read again."""
    del size
    document = store.read_document(path)
    schema = document.get("schema", PriceList.schema_tag())
    rows = document.get("prices")
    kind, _, number = str(schema).partition("/")
    if kind == PriceList.KIND and number.isdigit() and int(number) > PriceList.VERSION:
        raise _bad(path, "prices", f"{schema} is newer than {PriceList.schema_tag()}: upgrade advisor to read it")
    if schema != PriceList.schema_tag() or not is_list(rows) or set(document) - {"schema", "prices"}:
        raise _bad(path, "prices", 'expected {"prices": [{"gpu": ..., "on_demand_usd_h": ...}, ...]}')
    changed = datetime.fromtimestamp(mtime_ns / 1e9).date()
    return tuple(_own_row(path, number, row, changed) for number, row in enumerate(rows, start=1))


def _own_row(path: Path, number: int, row: Any, changed: date) -> Price:
    """One row. Undated rows count as read on the day the file was last changed: the user wrote them then."""
    if not is_object(row):
        raise _bad(path, "(whole)", "is not a JSON object", number)
    defaults: dict[str, Any] = {
        "provider": "own",
        "instance_type": "own",
        "gpu_count": 1,
        "region": "any",
        "read_on": changed,
        "source": {"address": str(path), "where": f"row {number}"},
    }
    given = {str(key): value for key, value in row.items()}
    try:
        price = Price.model_validate({**defaults, **given, "override": True})
        name = find_gpu(price.gpu)[0].name
    except ValidationError as error:
        field, said, _ = first_problem(error)
        raise _bad(path, field, said, number) from error
    except BadRequest as error:
        raise _bad(path, "gpu", error.message, number) from error
    if price.on_demand_usd_h is None and price.spot_usd_h is None:
        raise _bad(path, "on_demand_usd_h", "a price is missing: on_demand_usd_h, spot_usd_h or both", number)
    return price.model_copy(update={"gpu": name})


def _bad(path: Path, field: str, reason: str, row: int | None = None) -> BadFile:
    place = f"row {row}, {field}" if row else field
    return BadFile(
        f"the price file {path} is wrong at {place}",
        cause=reason,
        hints=["correct the file, or move it away to use the catalogue's prices"],
        path=str(path),
        row=row,
        field=field,
        reason=reason,
    )
