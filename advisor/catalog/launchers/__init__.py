"""What launchers call the GPUs of the catalogue."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from advisor import store
from advisor.domain.hardware import Source
from advisor.domain.stored import Stored, Value

_FILE: Final = Path(__file__).with_name("accelerators.json")


class LauncherNames(Value):
    """One launcher's names: catalogued GPU -> its own, with the memory after a colon where the name leaves it open."""

    source: Source
    names: dict[str, str]


class Launchers(Stored):
    """A file of launchers."""

    KIND = "launchers"

    launchers: dict[str, LauncherNames]


@cache
def accelerator_names(launcher: str) -> dict[str, str]:
    """Catalogued GPU -> the launcher's name of it.

    Raises:
        BadFile: the file is missing or damaged.
        KeyError: no such launcher.
    """
    return store.read(Launchers, _FILE).launchers[launcher].names
