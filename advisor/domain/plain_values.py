"""What a plain value is, of JSON, of a table or of a library without types, in words that the type checker follows.

`isinstance(value, dict)` leaves the keys and values of an `Any` unknown, and nothing that is read from them is checked
any more. These say the same at run time, and to the checker that what is inside is `Any`, to be asked in its turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """A JSON object as `json` reads it: a dict, whose keys are text."""
    return isinstance(value, dict)


def is_mapping(value: object) -> TypeGuard[Mapping[str, Any]]:
    """A JSON object, or what a caller gave in its place: any mapping, whose keys are text."""
    return isinstance(value, Mapping)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """A JSON array: a list, of anything."""
    return isinstance(value, list)


def is_tuple(value: object) -> TypeGuard[tuple[Any, ...]]:
    """A tuple, of anything."""
    return isinstance(value, tuple)


def is_sequence(value: object) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    """A JSON array, or what a caller gave in its place: a list or a tuple, of anything."""
    return isinstance(value, list | tuple)


def is_set(value: object) -> TypeGuard[set[Any] | frozenset[Any]]:
    """A set, of anything."""
    return isinstance(value, set | frozenset)


def is_collection(value: object) -> TypeGuard[list[Any] | tuple[Any, ...] | set[Any]]:
    """A list, a tuple or a set, of anything; no text and no mapping."""
    return isinstance(value, list | tuple | set)
