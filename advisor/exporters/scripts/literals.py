"""Values as Python source: what JSON holds, laid out for reading."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def python_literal(name: str, values: Mapping[str, Any]) -> str:
    """An assignment of a dict, a line a key."""
    return "\n".join([f"{name} = {{", *(f"    {key!r}: {value!r}," for key, value in values.items()), "}"])


def assembled(parts: Iterable[str]) -> str:
    """A script of its parts: two blank lines around functions and classes, one elsewhere."""
    text = ""
    for part in (part.strip("\n") for part in parts):
        is_block = part.startswith(("def ", "class "))
        gap = "" if not text else "\n\n\n" if is_block or text_ends_block(text) else "\n\n"
        text += gap + part
    return text + "\n"


def text_ends_block(text: str) -> bool:
    """Whether a script's last line belongs to a function or class."""
    return text.rpartition("\n")[2].startswith("    ")
