"""The config formats of trainers: which keys a version knows, what it takes for an absent one, which keys it dropped.

A file a tool, read from the tool's own dataclasses or schemas at the version it names.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from advisor import store
from advisor.domain.hardware import Source
from advisor.domain.stored import Stored

_FOLDER: Final = Path(__file__).resolve().parent


class TrainerFormat(Stored):
    """One tool's config format. `keys` of sections are dotted: `training.batch_size`."""

    KIND = "trainer-format"

    name: str
    package: str
    version: str
    source: Source
    requirements: tuple[str, ...] = Field((), description="what to install to run an export, as pip takes it")
    unknown_key: str = Field("", description="what the tool does with a key that it does not know")
    defaults: dict[str, Any] = Field(default_factory=dict, description="what it takes where a key is absent")
    earlier: dict[str, str] = Field(default_factory=dict, description="keys of older versions -> what replaced them")
    keys: tuple[str, ...] = ()
    models: tuple[dict[str, Any], ...] = Field((), description="of tools that know models one by one")

    @property
    def said(self) -> str:
        """Package and version, as a reader names them."""
        return f"{self.package} {self.version}"


@cache
def trainer_format(name: str) -> TrainerFormat:
    """The catalogued format of an exporter's name.

    Raises:
        BadFile: the file is missing or damaged.
    """
    return store.read(TrainerFormat, _FOLDER / f"{name}.json")
