"""What a node of a Ray cluster does: one training that the driver sent, told in the study or brought back to it."""

from __future__ import annotations

import contextlib
import functools
import importlib
import shutil
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from advisor import store
from advisor.training.monitor import WEIGHTS
from advisor.training.training_spec import TrainingResult, TrainingSpec
from advisor.tuner.execution.resources import ResourceSlot
from advisor.tuner.execution.single_run import train_in_process
from advisor.tuner.execution.trial_worker import Launch, Worker
from advisor.tuner.storage.trials import finished_result
from advisor.tuner.tune_request import REQUEST_FILE, TuneRequest

T = TypeVar("T")

LISTEN_SECONDS: Final = 1.0
LARGEST_WEIGHTS: Final = 2**30
"""Trained parameters that are sent back; larger ones are trained again where they turn out the best."""


class StopSignal:
    """An actor that trainings ask now and then whether to stop."""

    def __init__(self) -> None:
        self._rung = False

    def ring(self) -> None:
        """Ask every training to stop."""
        self._rung = True

    def rung(self) -> bool:
        """Whether that has been asked."""
        return self._rung


@dataclass(frozen=True, slots=True)
class RemoteTask:
    """What a node must know to run one training: the study, and where things lie on the machine that asks."""

    host: str
    folder: str
    url: str
    request: Mapping[str, Any]
    launch: Launch
    patience: float
    trial_id: int | None = None
    """In the study; None is a training apart from the search."""

    @property
    def here(self) -> bool:
        """Whether this is the machine that asks, with the study's folder on its disk."""
        return self.host == socket.gethostname() and Path(self.folder).is_dir()


@dataclass(frozen=True, slots=True)
class RemoteResult:
    """What comes back: the result, where the study has not been told it, and the trained parameters by their path."""

    result: TrainingResult | None
    weights: Mapping[str, bytes]


def run_there(remote_task: RemoteTask, rows: Mapping[str, bytes], stop_signal: Any) -> RemoteResult:
    """Run one training to its end; its parameters come along where they lie on another machine's disk."""
    if _rung(stop_signal):
        return RemoteResult(TrainingResult(status="interrupted", reason="asked to stop"), {})
    folder = Path(remote_task.folder) if remote_task.here else _unpacked(remote_task, rows)
    place = folder / Path(remote_task.launch.job.folder).relative_to(remote_task.folder)
    spec = store.read(TuneRequest, folder / REQUEST_FILE).spec
    job = remote_task.launch.job.model_copy(update={"folder": str(place), "data": str(folder / "data"), "spec": spec})
    result = (
        _trial(remote_task, folder, job, stop_signal)
        if remote_task.trial_id is not None
        else _apart(remote_task, job, stop_signal)
    )
    if remote_task.here:
        return RemoteResult(result, {})
    weights = _weights(place)
    if finished_result(place) is not None:
        # the study's own folder has it all now; an unfinished one may come back here and go on
        shutil.rmtree(place, ignore_errors=True)
    return RemoteResult(result, weights)


def _trial(remote_task: RemoteTask, folder: Path, job: TrainingSpec, stop_signal: Any) -> None:
    """A trial of the search: signed, trained and told in the storage as any worker does."""
    from optuna.trial import Trial

    worker = Worker(folder, remote_task.url, patience=remote_task.patience)

    def work() -> None:
        trial = worker.retry(lambda: Trial(worker.study, remote_task.trial_id))  # type: ignore[arg-type]
        if worker.sign(trial):
            worker.perform(trial, Launch(job, remote_task.launch.prediction))

    _listening(stop_signal, worker.stop, work)


def _apart(remote_task: RemoteTask, job: TrainingSpec, stop_signal: Any) -> TrainingResult:
    request, stop = TuneRequest.from_document(remote_task.request), threading.Event()
    return _listening(stop_signal, stop, lambda: train_in_process(request, job, ResourceSlot(), stop))


def _listening(stop_signal: Any, stop: threading.Event, work: Callable[[], T]) -> T:
    """The work's result, done in a thread of its own so that this one can read the stop flag.

    The training is asked to stop then and given the time to write a checkpoint, which Ray's own cancelling is not.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def working() -> None:
        try:
            done.append(work())
        except BaseException as error:  # handed to the main thread, which raises it
            failed.append(error)

    thread = threading.Thread(target=working)
    thread.start()
    while thread.is_alive():
        thread.join(LISTEN_SECONDS)
        if thread.is_alive() and not stop.is_set() and _rung(stop_signal):
            stop.set()
    if failed:
        raise failed[0]
    return done[0]


def _rung(stop_signal: Any) -> bool:
    """Whether all are asked to leave; a stop flag that cannot be read is not set."""
    ray: Any = importlib.import_module("ray")
    with contextlib.suppress(ray.exceptions.RayActorError):
        return bool(ray.get(stop_signal.rung.remote()))
    return False


def _unpacked(remote_task: RemoteTask, rows: Mapping[str, bytes]) -> Path:
    """The study's folder on a machine that has none: its rows, and its request with the weights as they lie here."""
    from advisor.tuner.study_preparation import local_weights

    request = TuneRequest.from_document(remote_task.request)
    folder = store.home("cache") / "ray" / f"{request.name}-{request.splits.sha256['train'][:12]}"
    with store.locked(folder):
        if not (folder / REQUEST_FILE).is_file():
            for name, content in rows.items():
                (folder / "data").mkdir(parents=True, exist_ok=True)
                store.durable(folder / "data" / name, functools.partial(store.write_bytes, content=content))
            store.write(request.model_copy(update={"spec": local_weights(request.spec)}), folder / REQUEST_FILE)
    return folder


def _weights(place: Path) -> dict[str, bytes]:
    """Every trained parameter file of a training, by its path below the training's folder."""
    found = sorted(place.rglob(WEIGHTS))
    if sum(path.stat().st_size for path in found) > LARGEST_WEIGHTS:
        return {}
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in found}
