"""Traces and their timelines, each expanded once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from advisor.domain.hardware import Hardware
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.trace.expand import expand
from advisor.domain.trace.timeline import Timeline
from advisor.domain.trace.trace_schema import Trace
from advisor.domain.workload import Workload

_KEPT: Final = 32
_timelines: OrderedDict[str, Timeline] = OrderedDict()
_one_at_a_time = threading.Lock()


def trace_of(workload: Workload, recipe: Recipe, hardware: Hardware, spec: ModelSpec) -> Trace:
    """The trace of one step, from the cache or made now."""
    from advisor.tracer.trace import trace

    return trace(spec, workload, recipe, hardware.gpu)


def known_trace(workload: Workload, recipe: Recipe, hardware: Hardware, spec: ModelSpec) -> Trace | None:
    """The trace of one step where it was made before; None where it would have to be made."""
    from advisor.tracer.trace import remembered, trace_key

    return remembered(trace_key(spec, workload, recipe, hardware.gpu))


def releases_of(trace: Trace, workload: Workload, recipe: Recipe, hardware: Hardware, spec: ModelSpec) -> list[str]:
    """What is to be said of the releases that a trace was made with."""
    from advisor.tracer.trace import release_notes

    return list(release_notes(trace, spec, workload, recipe, hardware.gpu))


def timeline_of(trace: Trace) -> Timeline:
    """The expanded trace; the last few are kept."""
    with _one_at_a_time:
        known = _timelines.get(trace.key)
        if known is not None:
            _timelines.move_to_end(trace.key)
            return known
        timeline = _timelines[trace.key] = expand(trace)
        if len(_timelines) > _KEPT:
            _timelines.popitem(last=False)
        return timeline
