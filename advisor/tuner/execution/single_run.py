"""A training of a study apart from its search: a finalist's other seed, or the chosen settings once more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from advisor.training.run_spec import TrialJob, TrialResult
from advisor.training.subprocess_run import Child
from advisor.tuner.execution.resources import Seat
from advisor.tuner.request_model import TuneRequest
from advisor.tuner.trial_cost import limit_bytes

Heard = Callable[[TrialJob, TrialResult], None]


class Train(Protocol):
    """Runs trainings, as many at a time as there are hands; `heard` is told of each as it ends."""

    def __call__(self, request: TuneRequest, jobs: Sequence[TrialJob], heard: Heard) -> list[TrialResult]: ...


def train_apart(request: TuneRequest, job: TrialJob, seat: Seat, stop: threading.Event) -> TrialResult:
    """One training in a process of its own; killed from outside, it goes on from its checkpoint as a trial would."""
    threads = job.threads or seat.threads(request)
    searched = job.mode == "train"  # the finish of a study has no second try, so it may take what it needs
    result = TrialResult(status="interrupted", reason="asked to stop")
    for _ in range(1 + request.max_retries):
        if stop.is_set():
            break
        result = Child(
            job=job.model_copy(update={"threads": threads}),
            on_progress=lambda line: None,
            wanted=lambda: "interrupted" if stop.is_set() else None,
            environment=seat.environment(request, threads),
            memory_bytes=limit_bytes(request, seat.of) if searched and request.hardware is None else None,
            seconds=request.trial_seconds if searched else None,
        ).run()
        if result.status != "interrupted":
            break
    return result
