"""Numbers with their units as a reader sees them, the same in every face."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advisor.domain.units import GIB, MIB, duration

if TYPE_CHECKING:
    from advisor.domain.quantity import Quantity


def amount(value: float, unit: str, like: float | None = None) -> str:
    """One number with its unit for a reader: `21.0 GiB`, `1 h 52 m`, `5.60 USD`, `+0.3`.

    `like`: another amount, in whose kind of unit this one is said: the middle of an interval for its ends.
    """
    if unit == "B":
        large = abs(value if like is None else like) >= GIB
        return f"{value / GIB:.1f} GiB" if large else f"{value / MIB:.0f} MiB"
    if unit == "s":
        return duration(value, like)
    if unit == "USD":
        if 0 < abs(value) < 0.01:
            return f"{value:.1g} USD"
        return f"{value:.2f} USD" if abs(value) < 1000 else f"{value:,.0f} USD"
    if unit == "score":
        return f"{value:+.1f}"
    if unit == "FLOP":
        return f"{value:.3g} FLOP"
    number = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return number if unit == "count" else f"{number} {unit}"


def span(quantity: Quantity) -> str:
    """The interval without repeating the unit where both ends share it: `20.3–21.8`."""
    low, high = (amount(end, quantity.unit, quantity.mid) for end in (quantity.low, quantity.high))
    low_number, _, low_unit = low.rpartition(" ")
    high_number, _, high_unit = high.rpartition(" ")
    if low_unit == high_unit and low_number and " " not in low_number + high_number:
        return f"{low_number}–{high_number}"
    return f"{low} to {high}" if quantity.unit in ("s", "score") else f"{low}–{high}"


def show(quantity: Quantity | None, *, basis: bool = True) -> str:
    """A quantity for a reader, `21.0 GiB (20.3–21.8) calibrated`; `unknown` where there is none."""
    if quantity is None:
        return "unknown"
    text = amount(quantity.mid, quantity.unit)
    if quantity.low < quantity.high:
        text += f" ({span(quantity)})"
    return f"{text} {quantity.basis}" if basis else text


def stacked(quantity: Quantity | None) -> str:
    """A quantity for a narrow column: the number, and its interval on a line below."""
    if quantity is None:
        return "unknown"
    below = f"\n{span(quantity)}" if quantity.low < quantity.high else ""
    return amount(quantity.mid, quantity.unit) + below
