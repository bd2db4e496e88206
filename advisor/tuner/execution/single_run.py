"""A training of a study apart from its search: a finalist's other seed, or the chosen settings once more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Final, Protocol

from advisor.training.training_process import Child
from advisor.training.training_spec import TrainingResult, TrainingSpec
from advisor.tuner.execution.resources import ResourceSlot
from advisor.tuner.trial_cost import limit_bytes
from advisor.tuner.tune_request import TuneRequest

WATCH_SECONDS: Final = 1.0

Heard = Callable[[TrainingSpec, TrainingResult], None]


class TrainFunction(Protocol):
    """Runs trainings, as many at a time as there are hands; `heard` is told of each as it ends."""

    def __call__(self, request: TuneRequest, jobs: Sequence[TrainingSpec], heard: Heard) -> list[TrainingResult]: ...


def train_in_process(
    request: TuneRequest, job: TrainingSpec, slot: ResourceSlot, stop: threading.Event
) -> TrainingResult:
    """One training in a process of its own; killed from outside, it goes on from its checkpoint as a trial would."""
    threads = job.threads or slot.threads(request)
    searched = job.mode == "train"  # the finish of a study has no second try, so it may take what it needs
    result = TrainingResult(status="interrupted", reason="asked to stop")
    for _ in range(1 + request.max_retries):
        if stop.is_set():
            break
        result = Child(
            job=job.model_copy(update={"threads": threads}),
            on_progress=lambda line: None,
            wanted=lambda: "interrupted" if stop.is_set() else None,
            environment=slot.environment(request, threads),
            memory_bytes=limit_bytes(request, slot.of) if searched and request.hardware is None else None,
            seconds=request.trial_seconds if searched else None,
        ).run()
        if result.status != "interrupted":
            break
    return result


def train_watched(
    request: TuneRequest, job: TrainingSpec, slot: ResourceSlot, watch: Callable[[], None] = lambda: None
) -> TrainingResult:
    """`train_in_process`, with `watch` called about once a second; the training ends with an interrupt of the caller.

    Raises:
        KeyboardInterrupt: passed on after the training has left.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(train_in_process, request, job, slot, stop)
        try:
            while not future.done():
                wait([future], WATCH_SECONDS)
                watch()
        except BaseException:
            stop.set()
            raise
    return future.result()
