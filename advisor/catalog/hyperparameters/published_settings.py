"""Settings as data: who used which value of which hyperparameter for what, and where that stands."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, model_validator

from advisor import store
from advisor.catalog.findings.method_names import our_name
from advisor.domain.stored import Stored, Value

FILE: Final = Path(__file__).parent / "settings.json"

SettingKind = Literal["best", "recommendation", "guidance", "run", "config", "grid", "library default"]
"""Found best in a search · recommended in prose · project documentation · run and reported · example
configuration · range searched · what a library does when nobody says anything."""

TaskClass = Literal["understanding", "generation", "instruction", "skill", "preference", "vision"]


class PublishedSetting(Value):
    """One value. `low`..`high` where a range was printed; `sources` index `SettingsFile.addresses`."""

    method: str
    setting: str
    value: float | str
    kind: SettingKind
    low: float | None = None
    high: float | None = None
    architecture: Literal["decoder", "encoder", "encoder-decoder", "vision"] | None = None
    parameters: int | None = Field(None, ge=1)
    task: TaskClass | None = None
    samples: int | None = Field(None, ge=1)
    sources: tuple[int, ...] = Field(min_length=1)
    note: str = ""


class SettingsFile(Stored):
    """All published settings; an address is written once."""

    KIND = "settings"

    addresses: tuple[str, ...]
    settings: tuple[PublishedSetting, ...]

    @model_validator(mode="after")
    def _lawful(self) -> SettingsFile:
        for one in self.settings:
            if max(one.sources) >= len(self.addresses) or min(one.sources) < 0:
                raise ValueError(f"{one.method} {one.setting}: a source is not among the addresses")
            if our_name(one.method) != one.method:
                raise ValueError(f"method {one.method!r} must be written {our_name(one.method)!r}")
        return self


@cache
def load_settings() -> SettingsFile:
    """The settings that ship, read once a process.

    Raises:
        BadFile: the file is missing, corrupt or breaks a law.
    """
    return store.read(SettingsFile, FILE)
