"""Fits of earlier questions, kept in the cache folder: a question asked again is answered without arithmetic.

The key holds everything an outcome depends on - the question, each file of the installed package, the user's own
profiles, calibrations and prices, library versions, the day - so nothing stale is ever read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from advisor import store
from advisor.domain.stored import Stored
from advisor.recommender.recommend_request import ResolvedRequest
from advisor.recommender.sizing import MethodOutcome

WEIGHED_LATER = {
    "samples",
    "policy",
    "tolerance_points",
    "budget_usd",
    "deadline_hours",
    "exclude",
    "must_merge",
    "spot",
}
"""Arguments that decide among fits and change none of them; `samples` is in the workload."""
ASKED_OTHERWISE = {"data", "model", "gpu", "gpu_memory_max", "max_usd_per_hour", "max_gpus"}
"""Arguments that say in a user's words what the workload and the machine of the question hold."""


class Remembered(Stored):
    """The fits of one question, by method."""

    KIND = "fits"
    VERSION = 1

    fits: dict[str, MethodOutcome]


def recall(question: ResolvedRequest) -> dict[str, MethodOutcome]:
    """The fits known for a question; none where nothing is cached or the file is corrupt."""
    found = store.read_cache(Remembered, _path(question))
    return dict(found.fits) if found is not None else {}


def keep(question: ResolvedRequest, fits: Mapping[str, MethodOutcome]) -> None:
    """Cache the fits that hold whoever asks again: not those that failed. A read-only cache is done without."""
    sound = {name: fit for name, fit in fits.items() if fit.refusal is None or fit.refusal.kind != "error"}
    store.write_cache(Remembered(fits=sound), _path(question))


def _path(question: ResolvedRequest) -> Path:
    asked = question.model_dump(
        mode="json", exclude={"notes": True, "machine_notes": True, "request": WEIGHED_LATER | ASKED_OTHERWISE}
    )
    # no dump of a workload holds the lengths of its rows
    asked["length_quantiles"] = question.workload.length_quantiles
    return store.cache_dir() / "fits" / f"{stamp(asked)}.json.gz"


def stamp(asked: Mapping[str, Any]) -> str:
    """The SHA-256 of what is asked and of all that an answer depends on besides, today's date included."""
    text = json.dumps([asked, sorted(_state()), date.today().isoformat()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _state() -> Iterator[tuple[str, int, int]]:
    """Size and time of change of every file a prediction may depend on, and the libraries' versions as a name."""
    from advisor.tracer.library_releases import versions

    yield json.dumps(versions(), sort_keys=True), 0, 0
    places = [Path(store.__file__).parent, store.home("data"), store.home("config")]
    places.extend(place for folder in ("profiles", "calibration") for place in store.folders(folder))
    own_prices = os.environ.get("ADVISOR_PRICES")
    if own_prices:
        places.append(Path(own_prices))
    for place in places:
        yield from _files(place)


def _files(place: Path) -> Iterator[tuple[str, int, int]]:
    if place.is_file():
        found = place.stat()
        yield str(place), found.st_size, found.st_mtime_ns
    elif place.is_dir():
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in ("__pycache__", "cache"):
                        yield from _files(Path(entry.path))
                elif entry.is_file():
                    found = entry.stat()
                    yield entry.path, found.st_size, found.st_mtime_ns
