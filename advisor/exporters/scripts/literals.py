"""Values as Python source: what JSON holds, laid out for reading."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def python_literal(name: str, values: Mapping[str, Any]) -> str:
    """An assignment of a dict, a line a key."""
    return "\n".join([f"{name} = {{", *(f"    {key!r}: {value!r}," for key, value in values.items()), "}"])
