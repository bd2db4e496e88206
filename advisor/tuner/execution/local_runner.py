"""The workers of this machine: started, watched, started again when killed, asked to end."""

from __future__ import annotations

import queue
import signal
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from advisor import processes
from advisor.errors import AdvisorError, BadRequest, DoesNotFit, StoreUnavailable
from advisor.training.training_spec import TrainingResult, TrainingSpec
from advisor.tuner.execution.resources import ResourceSlot
from advisor.tuner.execution.single_run import Heard, train_in_process
from advisor.tuner.storage.connect import PATIENCE_SECONDS
from advisor.tuner.tune_request import TuneRequest

POLL_SECONDS: Final = 0.5
VIEW_SECONDS: Final = 1.0
MOST_RESTARTS: Final = 5
"""Of one worker; one that keeps dying has a cause that another start does not cure."""
END_SECONDS: Final = 90.0


@dataclass(slots=True)
class Runner(ABC):
    """Who runs the trainings of the study in `folder`, at most `workers` at a time.

    `watch` is called about once a second, for a view of what goes on; `salt` tells machines apart.
    """

    folder: Path
    url: str
    workers: int
    watch: Callable[[], None] = lambda: None
    patience: float = PATIENCE_SECONDS
    salt: int = 0
    _viewed: float = 0.0

    @abstractmethod
    def run(self) -> str:
        """Run trials until the budget is spent; says why the search ended.

        Raises:
            AdvisorError: an error that further trials would have too (storage away, disk full).
            KeyboardInterrupt: passed on after all trials have left a checkpoint and gone back into the study.
        """

    @abstractmethod
    def train(self, request: TuneRequest, jobs: Sequence[TrainingSpec], heard: Heard) -> list[TrainingResult]:
        """Run trainings apart from the search; their results in the order of the jobs.

        Raises:
            KeyboardInterrupt: passed on after all trainings have left a checkpoint.
        """

    def view(self) -> None:
        """Call `watch`, unless it was called just now."""
        if time.monotonic() - self._viewed > VIEW_SECONDS:
            self._viewed = time.monotonic()
            self.watch()


@dataclass(slots=True)
class LocalRunner(Runner):
    """Worker processes on this machine."""

    _running: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict[int, subprocess.Popen[bytes]])
    _restarts: dict[int, int] = field(default_factory=dict[int, int])

    def run(self) -> str:
        """As `Runner`, by workers that are started again when killed."""
        (self.folder / "workers").mkdir(parents=True, exist_ok=True)
        for index in range(self.workers):
            self._start(index)
        with processes.interrupted_by_signals():
            try:
                while self._running:
                    self._look()
                    self.view()
                    time.sleep(POLL_SECONDS)
            except BaseException:
                self.end()
                raise
        return processes.last_line(processes.tail(self._log(0, "out")))

    def train(self, request: TuneRequest, jobs: Sequence[TrainingSpec], heard: Heard) -> list[TrainingResult]:
        """As `Runner`, each worker with its own resources: a GPU, or its share of the cores."""
        many = max(1, min(self.workers, len(jobs)))
        slots: queue.SimpleQueue[ResourceSlot] = queue.SimpleQueue()
        for index in range(many):
            slots.put(ResourceSlot(index, many))
        stop = threading.Event()

        def one(job: TrainingSpec) -> TrainingResult:
            slot = slots.get()
            try:
                return train_in_process(request, job, slot, stop)
            finally:
                slots.put(slot)

        with processes.interrupted_by_signals(), ThreadPoolExecutor(many) as pool:
            try:
                futures = [pool.submit(one, job) for job in jobs]
                self._hear(dict(zip(futures, jobs, strict=True)), heard)
            except BaseException:
                # leaving the pool waits for its trainings: they checkpoint and end now, the others never begin
                stop.set()
                raise
        return [future.result() for future in futures]

    def _hear(self, running: dict[Future[TrainingResult], TrainingSpec], heard: Heard) -> None:
        waiting = set(running)
        while waiting:
            done, waiting = wait(waiting, VIEW_SECONDS, FIRST_COMPLETED)
            for future in done:
                heard(running[future], future.result())
            self.view()

    def end(self) -> None:
        """Ask every worker to leave: its trial checkpoints and goes back into the study."""
        for process in self._running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        until = time.monotonic() + END_SECONDS
        for process in self._running.values():
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                processes.end_group(process)
        self._running.clear()

    def _look(self) -> None:
        for index, process in list(self._running.items()):
            code = process.poll()
            if code is None:
                continue
            del self._running[index]
            if code == 0:
                continue
            said = self._log(index, "err").read_text(encoding="utf-8", errors="replace").strip()
            if code in (1, 2, 3, 4):
                self.end()
                raise _error(code, said, self.folder)
            self._restarts[index] = self._restarts.get(index, 0) + 1
            if self._restarts[index] > MOST_RESTARTS:
                self.end()
                raise AdvisorError(f"worker {index} died {MOST_RESTARTS} times", cause=said[-300:], code=code)
            self._start(index)

    def _start(self, index: int) -> None:
        arguments = [str(self.folder), "--storage", self.url, "--index", str(index), "--share", str(self.workers)]
        arguments += ["--patience", str(self.patience), "--salt", str(self.salt)]
        with open(self._log(index, "out"), "ab") as out, open(self._log(index, "err"), "wb") as err:
            self._running[index] = processes.spawn(
                "advisor.tuner.execution.trial_worker", *arguments, stdout=out, stderr=err
            )

    def _log(self, index: int, stream: str) -> Path:
        return self.folder / "workers" / f"{index}.{stream}"


def _error(code: int, said: str, folder: Path) -> AdvisorError:
    """A worker's own error again, here; a traceback stays whole, since it is a bug."""
    kind = {kind.exit_code: kind for kind in (BadRequest, DoesNotFit, StoreUnavailable)}.get(code)
    if kind is not None and "Error: " in said:
        message, *rest = said[said.index("Error: ") + 7 :].splitlines()
        return kind(message, cause=rest[0].strip() if rest else "", hints=[r.strip() for r in rest[1:]])
    return AdvisorError(f"a worker of {folder} failed", cause=said[-2000:], code=code)
