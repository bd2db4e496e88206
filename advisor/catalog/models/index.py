"""The catalogue's model definitions: `index.json` says what each is, `configs/` holds them in Hugging Face's form."""

from __future__ import annotations

import difflib
import functools
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from advisor import store
from advisor.domain.model import TaskClass
from advisor.domain.stored import Stored, Value
from advisor.errors import UnknownName

FOLDER = Path(__file__).parent


class ModelEntry(Value):
    """One architecture and size. `aliases` are Hub ids of the same one; their context length may differ.

    `parameters` counts tied tensors once, encoders with a fresh head of two labels, multimodal models whole.
    `verified` says whether that equals a published count under `count_rule`: yes, rounded (within 3 %) or no.
    """

    id: str
    aliases: tuple[str, ...] = ()
    family: str
    model_type: str
    task_class: TaskClass
    parameters: int = Field(gt=0)
    text_parameters: int | None = Field(None, gt=0, description="multimodal models: the language model alone")
    published_parameters: int | None = None
    count_rule: str = ""
    verified: Literal["yes", "rounded", "no"]
    published_source: str = ""
    hub_parameters: int | None = Field(None, description="what the Hub shows, by `hub_rule`")
    hub_rule: str = ""
    source: str = Field(min_length=1, description="where the definition's values were read")
    licence: str | None = None
    licence_source: str = ""
    gated: bool | None = None
    context_length: int | None = Field(None, gt=0)
    confirmed_by: int = Field(ge=0, description="second sources whose dimensions agree")
    config: str
    notes: str = ""

    def load(self) -> dict[str, Any]:
        """The definition itself, as a `config.json` would say it."""
        return store.read_document(FOLDER / "configs" / self.config)


class ModelIndex(Stored):
    """All entries, in one file since none is edited alone."""

    KIND = "models"

    models: tuple[ModelEntry, ...]


@functools.cache
def _all() -> tuple[ModelEntry, ...]:
    return store.read(ModelIndex, FOLDER / "index.json").models


def models(search: str = "") -> tuple[ModelEntry, ...]:
    """Entries all of whose search words occur in their id, an alias, family, type or task; all without a search.

    Raises:
        UnknownName: a search that nothing matches; the field `near` holds names that exist.
    """
    words = search.lower().split()
    found = tuple(entry for entry in _all() if all(word in _text(entry) for word in words))
    if not found:
        raise unknown(search)
    return found


def lookup(name: str) -> ModelEntry | None:
    """The entry of an id or alias, whatever the case; without the owner where only one model is called so."""
    key = _key(name)
    ids, aliases, tails = _keys()
    if key in ids or key in aliases:
        return ids.get(key) or aliases.get(key)
    owners = tails.get(key, ())
    return owners[0] if len(owners) == 1 else None


def unknown(name: str) -> UnknownName:
    """The error for a name that no entry has; near names are sought without owners where none was given."""
    known = {name.rpartition("/")[2].lower(): name for name in reversed(names())}
    typed = _key(name)
    near = [] if "/" in name else [known[tail] for tail in difflib.get_close_matches(typed, known, n=4, cutoff=0.5)]
    if not near:
        return UnknownName.of("model", name, names(), list_with="advisor models")
    hints = [f"near names: {', '.join(near)}", "to list all: advisor models"]
    return UnknownName(f"unknown model: {name!r}", hints=hints, kind="model", name=name, near=near)


def names() -> list[str]:
    """Every id and alias."""
    return [name for entry in _all() for name in (entry.id, *entry.aliases)]


def _key(name: str) -> str:
    return "-".join(name.lower().split())


def _text(entry: ModelEntry) -> str:
    return " ".join((entry.id, *entry.aliases, entry.family, entry.model_type, entry.task_class)).lower()


@functools.cache
def _keys() -> tuple[dict[str, ModelEntry], dict[str, ModelEntry], dict[str, tuple[ModelEntry, ...]]]:
    """Entries by id, by alias, and by the part after the owner (an id's over an alias's)."""
    ids = {_key(entry.id): entry for entry in _all()}
    aliases = {_key(alias): entry for entry in _all() for alias in entry.aliases}
    tails: dict[str, tuple[ModelEntry, ...]] = {}
    for known in (aliases, ids):
        found: dict[str, tuple[ModelEntry, ...]] = {}
        for key, entry in known.items():
            tail = key.rpartition("/")[2]
            found[tail] = tuple(dict.fromkeys((*found.get(tail, ()), entry)))
        tails.update(found)
    return ids, aliases, tails
