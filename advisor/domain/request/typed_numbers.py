"""Numbers as people type them: a time as `10m`, a size of memory as `8GiB`, a count as `2K`, `8B` or `8e9`."""

from __future__ import annotations

import math
import re
from typing import Any, Final

from advisor.errors import BadRequest

_SECONDS: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES: Final = {"kib": 2**10, "mib": 2**20, "gib": 2**30, "kb": 10**3, "mb": 10**6, "gb": 10**9}
_SIZE: Final = re.compile(r"~?\s*(\d+(?:\.\d*)?(?:e[+-]?\d+)?)\s*([KMBT]?)", re.IGNORECASE)
_GROUPED: Final = re.compile(r"(?<![\d.,])\d{1,3}(,\d{3})+(?![\d,])")
"""Thousands set apart; any other comma is a decimal point elsewhere, and would be ten times as many here."""
_UNITS: Final = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
MOST: Final = 10**15
"""No model has as many parameters and no data set as many samples: a size above is a slip of the pen."""
LARGEST_SIDE: Final = 10**4
"""Pixels of a picture's side; image processors make smaller ones of all that are larger."""


def whole_of(text: str, name: str) -> int:
    """A whole number of an option that takes several.

    Raises:
        BadRequest: anything else.
    """
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise BadRequest(f"{name}: {text!r} is no whole number", hints=["for example: 1,4,16"])
    return int(text)


def seconds_of(text: str) -> float:
    """`90`, `90s`, `1.5m` or `1h` in seconds.

    Raises:
        BadRequest: anything else, and nothing or less.
    """
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([smh]?)", text.strip().lower())
    if found is None or float(found[1]) <= 0:
        raise BadRequest(f"{text!r} is no length of time", hints=["for example: 90s, 10m, 1h"])
    return float(found[1]) * _SECONDS[found[2]]


def bytes_of(text: str) -> int:
    """`8GiB`, `500 MB` in bytes; a unit is needed.

    Raises:
        BadRequest: anything else, and nothing or less.
    """
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([kmg]i?b)", text.strip().lower())
    if found is None or float(found[1]) <= 0:
        raise BadRequest(f"{text!r} is no size of memory", hints=["for example: 8GiB, 500MB"])
    return int(float(found[1]) * _BYTES[found[2]])


def picture_size(value: int | str | None, name: str = "--image-size") -> tuple[int, int] | None:
    """`224` or `1024x768` as width and height in pixels; None stays unknown.

    Raises:
        BadRequest: anything else, and sides of nothing or of more than 10,000 pixels.
    """
    if value is None:
        return None
    found = re.fullmatch(r"([0-9]{1,5})(?:\s*[xX×]\s*([0-9]{1,5}))?", str(value).strip())
    sides = (int(found[1]), int(found[2] or found[1])) if found is not None else (0, 0)
    if isinstance(value, bool) or not 0 < min(sides) <= max(sides) <= LARGEST_SIDE:
        raise BadRequest(
            f"{name} {value!r} is no size of a picture",
            cause=f"a side has 1 to {LARGEST_SIDE} pixels",
            hints=[f"for example: {name} 224, {name} 1024x768"],
            field="image_size",
        )
    return sides


def size_of(value: Any, name: str, *, least: int = 1) -> int | None:
    """A size as people write it: 8e9, "8B", "125M", "20-70" and "1-3B" (their middles), "406M (not stated)".

    None and an empty text stay unknown.

    Raises:
        BadRequest: not a size, or not between `least` and MOST.
    """
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise BadRequest(f"{name} must be a number, not {short(value)}", field=name)
    typed = value
    if isinstance(value, str):
        plain = _GROUPED.sub(lambda found: found[0].replace(",", ""), re.sub(r"\s*\(.*\)$", "", value.strip()))
        ends = [_SIZE.fullmatch(end.strip()) for end in plain.split("-")]
        if not 1 <= len(ends) <= 2 or None in ends:
            raise BadRequest(
                f"{name} must be a number, not {short(value)}",
                hints=[f"for example: {name} {example}" for example in ("2000", "8e9", "8B")],
                field=name,
            )
        units = [end[2].upper() for end in ends if end]
        numbers = [
            float(end[1]) * _UNITS[unit or units[-1]] for end, unit in zip(ends, units, strict=True) if end is not None
        ]
        if len(numbers) == 1 and numbers[0] <= MOST and abs(numbers[0] - round(numbers[0])) > 1e-9 * numbers[0]:
            raise BadRequest(f"{name} must be a whole number, not {short(value)}", field=name)
        value = math.prod(numbers) ** (1 / len(numbers))
    if not least <= value <= MOST:
        raise BadRequest(
            f"{name} must be at least {least} and below 1e15, not {short(typed)}",
            hints=["leave it out where it is not known"],
            field=name,
        )
    return round(value)


def short(value: Any) -> str:
    text = repr(value) if _digits(value) < 40 else "a number of too many digits"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _digits(value: Any) -> int:
    """Digits of a whole number, roughly and without writing it out; 0 for anything else."""
    return int(value.bit_length() * 0.30103) if isinstance(value, int) else 0
