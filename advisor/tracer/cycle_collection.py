"""Python's cycle collector while a step is recorded."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager

FROZEN = 10_000
"""Objects that Python's collector passes over: with more of them, a program has frozen its own (`gc.freeze`).

CPython 3.12.1 starts with 375 there (`gc.get_freeze_count()`), 3.11 and 3.13 with none; a program that has imported
torch and transformers freezes 200,000.
"""


@contextmanager
def collected_between_steps() -> Generator[None]:
    """Python's cycle collector runs at moments of its own choosing; here only between steps, so that streams agree."""
    collected = gc.isenabled()
    # what a program has frozen itself stays so: unfreezing would bring back all of it
    frozen = gc.get_freeze_count() > FROZEN
    gc.disable()
    if not frozen:
        gc.freeze()
    try:
        yield
    finally:
        if not frozen:
            gc.unfreeze()
        if collected:
            gc.enable()
