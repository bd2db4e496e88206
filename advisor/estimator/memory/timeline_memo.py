"""What was computed of a timeline, kept for a moment: whether a batch fits and what it costs are asked in turn."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from advisor.domain.trace.timeline import Timeline

T = TypeVar("T")


class TimelineMemo(Generic[T]):
    """The last few results by timeline and key."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[tuple[object, ...], tuple[Timeline, T]] = OrderedDict()

    def get(self, timeline: Timeline, key: tuple[object, ...], make: Callable[[], T]) -> T:
        """What was kept under the key, or what `make` makes now."""
        whole = (id(timeline), *key)
        if whole not in self._kept:
            # the timeline is kept along, so that its id stays its own
            self._kept[whole] = (timeline, make())
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return self._kept[whole][1]
