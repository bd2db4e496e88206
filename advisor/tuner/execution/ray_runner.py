"""The trainings of a study on a Ray cluster: each is placed by what it should need.

This process asks for the trials, predicts what they need, and sends each to Ray with that need; the node signs the
trial in the Optuna storage, trains, and tells the result there, as any worker does. Ray never runs a trial a second
time by itself: one whose node died goes back into the study, by us at once, or by its heartbeat if we died too.
The finalists' other seeds go the same way, and come back as results.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from advisor import store
from advisor.errors import DoesNotFit, StoreUnavailable
from advisor.store import durable, write_bytes
from advisor.training.training_spec import TrainingResult, TrainingSpec
from advisor.training.training_worker import RESULT
from advisor.tuner.execution.local_runner import Runner
from advisor.tuner.execution.ray_cluster import START_BYTES, Cluster, Needs, gathered, needs
from advisor.tuner.execution.ray_task import RemoteResult, RemoteTask
from advisor.tuner.execution.single_run import Heard
from advisor.tuner.execution.trial_worker import Launch, Worker
from advisor.tuner.storage.connect import id_of, storage_of
from advisor.tuner.storage.heartbeat import Heartbeat
from advisor.tuner.trial_cost import predict
from advisor.tuner.tune_request import TuneRequest

if TYPE_CHECKING:
    from optuna.trial import Trial

log = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class _Sent:
    """A trial on its way. While it waits for a node its beats are the owner's duty, who is us."""

    trial: Trial
    heartbeat: Heartbeat


@dataclass(slots=True)
class RayRunner(Runner):
    """A Ray cluster, by its address (default: RAY_ADDRESS, else one of this machine alone)."""

    address: str | None = None
    _sent: dict[Any, _Sent] = field(default_factory=dict[Any, _Sent])

    def run(self) -> str:
        """As `Runner`: trials on nodes, asked for and predicted here."""
        with gathered(self.address, self.url, self.folder) as cluster:
            boss = Worker(self.folder, self.url, salt=self.salt, patience=self.patience)
            if boss.request.hardware is None:
                boss.room = cluster.largest_bytes() - START_BYTES
            try:
                return self._search(cluster, boss)
            except BaseException:
                boss.stop.set()
                cluster.recall(list(self._sent))
                self._give_back(boss)
                raise

    def train(self, request: TuneRequest, jobs: Sequence[TrainingSpec], heard: Heard) -> list[TrainingResult]:
        """As `Runner`; a training whose node dies is sent to another."""
        results: dict[int, TrainingResult] = {}
        due = deque((i, request.max_retries) for i in range(len(jobs)))
        sent: dict[Any, tuple[int, int]] = {}
        with gathered(self.address, self.url, self.folder) as cluster:
            try:
                while due or sent:
                    while due and len(sent) < self.workers:
                        i, retries = due.popleft()
                        sent[self._send_apart(cluster, request, jobs[i])] = i, retries
                    ready, _ = cluster.ray.wait(list(sent), timeout=POLL_SECONDS)
                    for reference in ready:
                        i, retries = sent.pop(reference)
                        result = _came_apart(cluster, reference, jobs[i])
                        if result.status == "interrupted" and retries:
                            due.append((i, retries - 1))
                        else:
                            results[i] = result
                            heard(jobs[i], result)
                    self.view()
            except BaseException:
                cluster.recall(list(sent))
                raise
        return [results[i] for i in range(len(jobs))]

    def _search(self, cluster: Cluster, boss: Worker) -> str:
        while True:
            self._collect(cluster, boss)
            reason = boss.look()
            if reason and not self._sent:
                return reason
            begun = reason is None and len(self._sent) < self.workers and self._begin(cluster, boss)
            self.view()
            if not begun:
                self._wait(cluster)

    def _begin(self, cluster: Cluster, boss: Worker) -> bool:
        """Ask for a trial and send it off; False where there is none to be had now."""
        trial = boss.ask()
        if trial is None:
            return False
        launch = boss.launch(trial)
        if launch is None:
            return True
        wanted = needs(boss.request, launch.prediction)
        against = cluster.unplaceable(wanted)
        if against:
            boss.refuse(trial, against)
            return True
        remote_task = self._parcel(boss.request, launch, wanted, id_of(trial))
        self._sent[cluster.send(remote_task, wanted)] = _Sent(trial, Heartbeat(storage_of(boss.study)))
        return True

    def _parcel(self, request: TuneRequest, launch: Launch, wanted: Needs, trial_id: int | None = None) -> RemoteTask:
        if request.hardware is None:
            launch = Launch(launch.job.model_copy(update={"threads": int(wanted.cpus)}), launch.prediction)
        return RemoteTask(
            host=socket.gethostname(),
            folder=str(self.folder),
            url=self.url,
            request=request.to_document(),
            launch=launch,
            patience=self.patience,
            trial_id=trial_id,
        )

    def _wait(self, cluster: Cluster) -> None:
        if self._sent:
            cluster.ray.wait(list(self._sent), num_returns=1, timeout=POLL_SECONDS)
        else:
            time.sleep(POLL_SECONDS)

    def _collect(self, cluster: Cluster, boss: Worker) -> None:
        """Take in what has come back, and beat for trials that wait for a node."""
        if not self._sent:
            return
        ready, waiting = cluster.ray.wait(list(self._sent), num_returns=len(self._sent), timeout=0)
        for reference in ready:
            self._came_back(cluster, boss, reference, self._sent.pop(reference).trial)
        for reference in waiting:
            sent = self._sent[reference]
            with contextlib.suppress(Exception):
                # a storage that is away now is waited for by whoever needs its answer
                sent.heartbeat.beat(id_of(sent.trial))

    def _came_back(self, cluster: Cluster, boss: Worker, reference: Any, trial: Trial) -> None:
        try:
            brought = cluster.open(reference, f"trial {trial.number}")
        except cluster.ray.exceptions.RayError as error:
            log.warning("trial %s: %s", trial.number, type(error).__name__)
            boss.give_back(trial, f"its node died: {type(error).__name__}")
        else:
            _put_down(brought, boss.place(trial))

    def _give_back(self, boss: Worker) -> None:
        """Put every trial that was on its way back into the study."""
        for sent in self._sent.values():
            with contextlib.suppress(StoreUnavailable):
                # with the storage away too, the next session finds that we are dead
                boss.give_back(sent.trial, "interrupted")
        self._sent.clear()

    def _send_apart(self, cluster: Cluster, request: TuneRequest, job: TrainingSpec) -> Any:
        prediction = predict(request, job.recipe, job.workload)
        wanted = needs(request, prediction)
        against = cluster.unplaceable(wanted)
        if against:
            raise DoesNotFit(
                f"trial {job.number} cannot be trained again on this cluster: {against}",
                hints=[f"once a node has room: advisor tune --resume {self.folder} --launcher ray"],
                number=job.number,
            )
        return cluster.send(self._parcel(request, Launch(job, prediction), wanted), wanted)


def _came_apart(cluster: Cluster, reference: Any, job: TrainingSpec) -> TrainingResult:
    try:
        brought = cluster.open(reference, f"trial {job.number} trained again")
    except cluster.ray.exceptions.RayError as error:
        return TrainingResult(status="interrupted", reason=f"its node died: {type(error).__name__}")
    assert brought.result is not None
    _put_down(brought, Path(job.folder))
    return brought.result


def _put_down(brought: RemoteResult, place: Path) -> None:
    """Write what was trained on another machine where the finals look for it: parameters first, then the result."""
    for name, content in brought.weights.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        durable(path, lambda temporary, content=content: write_bytes(temporary, content))
    if brought.result is not None:
        store.write(brought.result, place / RESULT)
