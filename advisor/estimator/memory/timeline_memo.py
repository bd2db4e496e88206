"""What was computed of a timeline, kept for a moment: whether a batch fits and what it costs are asked in turn."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from advisor.domain.trace.timeline import Timeline

T = TypeVar("T")


class TimelineMemo(Generic[T]):
    """The last few results by timeline and key, for any number of threads: two may make the same one."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[tuple[object, ...], tuple[Timeline, T]] = OrderedDict()
        self._one_at_a_time = threading.Lock()

    def get(self, timeline: Timeline, key: tuple[object, ...], make: Callable[[], T]) -> T:
        """What was kept under the key, or what `make` makes now."""
        whole = (id(timeline), *key)
        with self._one_at_a_time:
            known = self._kept.get(whole)
        if known is not None:
            return known[1]
        # made outside the lock, since what is made may ask for another of the same memo
        made = make()
        with self._one_at_a_time:
            # the timeline is kept along, so that its id stays its own
            self._kept[whole] = (timeline, made)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return made
