"""Who runs a trial, and whether that worker still lives: on this machine by its process, elsewhere by its beat."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import psutil

from advisor.tuner.storage.connect import GRACE_SECONDS, HEARTBEAT_SECONDS

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

BEAT: Final = "advisor:beat"
OWNER: Final = "advisor:owner"


def me() -> dict[str, Any]:
    """Who runs a trial: enough to tell later, on this machine, whether the process still lives."""
    process = psutil.Process()
    return {
        "host": socket.gethostname(),
        "boot": psutil.boot_time(),
        "pid": process.pid,
        "started": process.create_time(),
    }


def is_dead(owner: Mapping[str, Any]) -> bool | None:
    """Whether an owner's process is gone; None for another machine, of which only its beat can tell."""
    if owner.get("host") != socket.gethostname():
        return None
    try:
        process = psutil.Process(int(owner["pid"]))
        return abs(process.create_time() - float(owner["started"])) > 1.0 or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Heartbeat:
    """Tells the storage that a trial's worker lives, and which other trials' workers do not.

    Relational storages keep Optuna's own heartbeat. The journal and gRPC storages have none, so there a count
    is written to the trial, and a count that stands still for the grace period (by our own clock: machines'
    clocks differ) means a dead worker. While the storage is away nobody can beat, so each time it was,
    `away()` gives all workers the time to beat again before one of them is taken for dead.
    """

    def __init__(self, storage: BaseStorage) -> None:
        from optuna.storages import RDBStorage

        self.native = isinstance(storage, RDBStorage) or hasattr(storage, "record_heartbeat")
        self.storage: Any = storage
        self._count = 0
        self._last = -math.inf
        self._back = time.monotonic()
        self._seen: dict[int, tuple[Any, float]] = {}

    def begin(self, trial_id: int) -> None:
        """The first beat of a trial, which waits for none before it."""
        self._last = -math.inf
        self.beat(trial_id)

    def away(self) -> None:
        """The storage did not answer just now."""
        self._seen.clear()
        self._back = time.monotonic()

    def stale(self, study: Study) -> set[int]:
        """Ids of the trials whose native heartbeat has stood still for the grace period."""
        if not self.native or time.monotonic() - self._back < 2 * HEARTBEAT_SECONDS:
            return set()
        return set(self.storage._get_stale_trial_ids(study._study_id))  # pyright: ignore[reportPrivateUsage]

    def beat(self, trial_id: int) -> bool:
        """At most one write each HEARTBEAT_SECONDS; whether it was written."""
        if time.monotonic() - self._last < HEARTBEAT_SECONDS:
            return False
        self._last = time.monotonic()
        if self.native:
            self.storage.record_heartbeat(trial_id)
        else:
            self._count += 1
            self.storage.set_trial_user_attr(trial_id, BEAT, self._count)
        return True

    def stopped(self, trial: FrozenTrial) -> bool:
        """Whether a running trial has shown neither an owner nor a new beat for the grace period."""
        mark, now = (OWNER in trial.user_attrs, trial.user_attrs.get(BEAT, 0)), time.monotonic()
        before = self._seen.get(trial.number)
        if before is None or before[0] != mark:
            self._seen[trial.number] = (mark, now)
            return False
        return now - before[1] > GRACE_SECONDS
