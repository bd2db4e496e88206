"""All that a visit to a device measured, in one file: what travels back from a machine that keeps nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from advisor import store
from advisor.domain.profile import Profile
from advisor.domain.stored import Stored
from advisor.errors import BadFile

NAME = "measured.json"
"""Of the file, where a folder is named."""


class MeasuredProfiles(Stored):
    """Profiles of one visit or of several, each as it lies in the store."""

    KIND = "measured-profiles"

    profiles: tuple[Profile, ...]


def write_results(profiles: Sequence[Profile], path: Path) -> None:
    """Write them whole or not at all.

    Raises:
        StoreUnavailable: the file cannot be written.
    """
    store.write(MeasuredProfiles(profiles=tuple(profiles)), path / NAME if path.is_dir() else path)


def read_results(path: str | Path) -> list[Profile]:
    """The profiles of such a file, or of the one in a folder.

    Raises:
        BadFile: there is none, or it is damaged.
    """
    place = store.expanded(path)
    place = place / NAME if place.is_dir() else place
    if not place.is_file():
        raise BadFile(
            f"{place} holds no results to go on from",
            hints=[f"they are what --results FILE wrote, or a folder with {NAME}"],
            path=str(place),
        )
    return list(store.read(MeasuredProfiles, place).profiles)
