"""What pydantic refused of a user's request, as a person would say it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from advisor.domain.request.argument import bounds_said
from advisor.errors import BadRequest, UnknownName

RENAMED: Final = {
    "methods": "method",
    "bases": "base",
    "attention": "attn_implementation",
    "usd": "budget_usd",
    "tolerance": "tolerance_points",
    "folder": "out",
}
"""Earlier names of arguments -> what they are called in every verb now."""


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
    said = bounds_said(bounds)
    cause = f"{option} must be {said}" if said else str(first["msg"])
    return BadRequest(f"{option} {value!r} cannot be", cause=cause, field=field, value=value)


def check_choice(what: str, name: str | None, known: Iterable[str]) -> None:
    """Refuse a name outside a closed set; None is none.

    Raises:
        UnknownName: with near names, and all there are.
    """
    names = list(known)
    if name is not None and name not in names:
        raise UnknownName.of(what, name, names, list_with=f"one of {', '.join(names)}")


def check_folder(out: str | Path | None) -> None:
    """Refuse a file where a folder is written to; None and what is not there yet are none.

    Raises:
        BadRequest: it is a file.
    """
    if out is not None and Path(out).is_file():
        raise BadRequest(f"--out {out} is a file, not a folder", field="out")


def first_problem(error: ValidationError, whole: str = "(whole)") -> tuple[str, str, Any]:
    """Field, message and value of the first thing that pydantic refused; `whole` where it is of no one field."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or whole
    return field, str(first["msg"]).removeprefix("Value error, "), first.get("input")


def check_names(given: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse an argument that the verb does not take.

    Raises:
        BadRequest: with near names, and the earlier name's new one where it was renamed.
    """
    names = sorted(known)
    for name in given:
        if name in names:
            continue
        near = [RENAMED[name]] if RENAMED.get(name) in names else difflib.get_close_matches(name, names, n=3)
        hints = [f"near names: {', '.join(near)}"] if near else [f"arguments: {', '.join(names)}"]
        raise BadRequest(f"unknown argument: {name!r}", hints=hints, key=name, near=near)
