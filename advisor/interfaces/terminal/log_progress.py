"""How far a long wait is, in lines for a stderr that is no terminal: none before two seconds, no control characters."""

from __future__ import annotations

import sys
import threading
import time
from typing import Final

from advisor.domain.units import duration

PATIENCE: Final = 2.0
"""Seconds of waiting before a log is told anything."""
PAUSE: Final = 15.0
"""Seconds between two lines at least: a log of an hour stays short enough to be read."""


class LogProgress:
    """Lines from a clock of its own, so that one long piece of work is told too.

    Args:
        text: what is being done; no control characters.
        counted: whether it will be told how many pieces there are. Else a line says that nobody knows how long.
        patience: seconds before the first line. pause: seconds between two.
    """

    def __init__(self, text: str, *, counted: bool, patience: float = PATIENCE, pause: float = PAUSE) -> None:
        self._text, self._counted, self._pause = text, counted, pause
        self._begun = time.monotonic()
        self._done = self._total = 0
        self._what = ""
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._clock = threading.Thread(target=self._tell, args=(patience,), daemon=True)
        self._clock.start()

    def advance(self, done: int, total: int, what: str) -> None:
        """How many pieces are done, and what the next one is."""
        with self._lock:
            if total != self._total:
                self._begun = time.monotonic()
            self._done, self._total, self._what = done, total, what

    def end(self) -> None:
        """Nothing is said any more, once this returns."""
        self._over.set()
        self._clock.join()

    def line(self) -> str:
        """Where it stands now."""
        with self._lock:
            spent = time.monotonic() - self._begun
            parts = [f"{self._text}: {self._what}" if self._what else self._text]
            if self._total:
                parts.append(f"{self._done} of {self._total} done")
            if not self._counted:
                parts.append(f"{duration(round(spent))} so far, nobody knows how long it takes")
            elif 0 < self._done < self._total:
                left = spent / self._done * (self._total - self._done)
                parts.append(f"about {duration(max(1.0, round(left)))} left")
        return ", ".join(parts)

    def _tell(self, patience: float) -> None:
        wait = patience
        while not self._over.wait(wait):
            print(self.line(), file=sys.stderr, flush=True)
            wait = self._pause
