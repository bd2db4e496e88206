"""Names of the linear layers that a group of targets means in an architecture, for who cannot build the model.

A group such as `attention` is a word of advisor's; peft and the trainers take module names. They are what
`assembly/adapters/module_search.py` finds in the models of the catalogue, written down so that no torch is needed.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from advisor import store
from advisor.domain.hardware import Source
from advisor.domain.model import ModelSpec
from advisor.domain.stored import Stored

_FILE: Final = Path(__file__).with_name("target_names.json")


class TargetNames(Stored):
    """Model type -> group -> what peft's `target_modules` takes: path endings, or a text, a pattern of whole paths."""

    KIND = "target-names"

    source: Source
    names: dict[str, dict[str, tuple[str, ...] | str]]


@cache
def _names() -> dict[str, dict[str, tuple[str, ...] | str]]:
    return store.read(TargetNames, _FILE).names


def target_names(spec: ModelSpec, group: str) -> list[str] | str | None:
    """What peft takes for a group in a model, or None where its architecture was not written down."""
    found = _names().get(spec.model_type, {}).get(group)
    return list(found) if isinstance(found, tuple) else found


def group_of(spec: ModelSpec, wanted: list[str] | str) -> str | None:
    """The group that these names, or this pattern, mean; None where they mean none."""
    known = _names().get(spec.model_type, {})
    named = wanted if isinstance(wanted, str) else set(wanted)
    for group, found in known.items():
        if group not in ("all-norms", "feed-forward-ends") and (
            found == named if isinstance(found, str) else set(found) == named
        ):
            return group
    return None
