"""What pydantic refused of a user's request, as a person would say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from advisor.errors import BadRequest, UnknownName


def refusal_of(error: ValidationError, given: Mapping[str, Any]) -> BadRequest:
    """The first refused field, by the name of its option; `given` holds what the user gave for each."""
    first = error.errors()[0]
    field = str(first["loc"][0]) if first["loc"] else ""
    option = "--" + field.replace("_", "-")
    value = given.get(field)
    bounds: dict[str, Any] = first.get("ctx", {})
    if first["type"] == "literal_error":
        known = [choice.strip("' ") for choice in bounds["expected"].replace(" or ", ", ").split(",")]
        return UnknownName.of(field.replace("_", " "), str(value), known, list_with=f"one of {', '.join(known)}")
    limits = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    said = " and ".join(f"{words} {bounds[key]:g}" for key, words in limits.items() if key in bounds)
    cause = f"{option} must be {said}" if said else str(first["msg"])
    return BadRequest(f"{option} {value!r} cannot be", cause=cause, field=field, value=value)
