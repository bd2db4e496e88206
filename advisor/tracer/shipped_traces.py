"""The traces that come with the package, so that a first answer about a common model needs no tracing.

One file a model holds all its traces, a line each, packed together: they are much alike, and take less than half of
what they take one by one. `index.json` says where each key's line is. `benchmarks/ship_traces.py` makes them.
"""

from __future__ import annotations

import json
import logging
from functools import cache, lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from advisor import store
from advisor.domain.trace.trace_schema import Trace
from advisor.errors import BadFile

FOLDER: Final = Path(__file__).with_name("shipped")
INDEX: Final = "index.json"

_log = logging.getLogger("advisor")


class Place(NamedTuple):
    """Where a trace lies: the file's name, and the first byte and length of its line once that is unpacked."""

    file: str
    start: int
    length: int


@cache
def shipped_keys() -> dict[str, Place]:
    """Where the trace of each key lies; empty where the index cannot be read."""
    try:
        document = store.read_document(FOLDER / INDEX)
        return {key: Place(*place) for key, place in document.items()}
    except (BadFile, TypeError) as error:
        _log.info("shipped traces ignored: %s", error)
        return {}


def shipped_trace(key: str) -> Trace | None:
    """The trace of a key; None where it does not come with the package, or cannot be read and so is to be made."""
    place = shipped_keys().get(key)
    if place is None:
        return None
    path = FOLDER / place.file
    try:
        line = _unpacked(path)[place.start : place.start + place.length]
        return store.made_of(Trace, json.loads(line), path)
    except (BadFile, OSError, ValueError, RecursionError) as error:
        _log.info("shipped trace ignored: %s: %s", path, error)
        return None


@lru_cache(maxsize=2)
def _unpacked(path: Path) -> bytes:
    try:
        import lzma  # some builds of Python lack it
    except ImportError as error:
        raise OSError("this Python has no lzma") from error
    try:
        return lzma.decompress(path.read_bytes())
    except lzma.LZMAError as error:
        raise OSError(str(error)) from error
