"""The trials of a study on a Ray cluster: each is placed by what it should need, and told by the node that ran it.

This process asks for the trials, predicts what they need, and sends each to Ray with that need; the node signs the
trial in the Optuna storage, trains, and tells the result there, as any worker does. Ray never runs a trial a second
time by itself: one whose node died goes back into the study, by us at once, or by its heartbeat if we died too.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from advisor import store
from advisor.domain.units import gib
from advisor.errors import AdvisorError, BadRequest, MissingExtra, StoreUnavailable
from advisor.tuner import ledger
from advisor.tuner.alive import Pulse
from advisor.tuner.coach import WEIGHTS, durable
from advisor.tuner.crew import END_SECONDS, VIEW_SECONDS, terminated_like_interrupted
from advisor.tuner.job import SPLITS, TuneRequest
from advisor.tuner.predict import Prediction
from advisor.tuner.storage import PATIENCE_SECONDS, id_of, shown, storage_of
from advisor.tuner.worker import REQUEST_FILE, Launch, Worker

if TYPE_CHECKING:
    from optuna.trial import Trial

log = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.5
KNOCK_SECONDS: Final = 10.0
START_BYTES: Final = 600 * 2**20
"""What a trial's process holds before it trains: torch and transformers, imported (measured: 430 to 560 MiB)."""
LARGEST_WEIGHTS: Final = 2**30
"""Trained parameters that are sent back; larger ones are trained again where they turn out the best."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What one trial asks a node for."""

    cpus: float
    gpus: float
    memory_bytes: int

    def within(self, node: Mapping[str, float]) -> bool:
        """Whether a node, with nothing on it, has as much."""
        return (
            node.get("CPU", 0) >= self.cpus
            and node.get("GPU", 0) >= self.gpus
            and node.get("memory", 0) >= self.memory_bytes
        )


@dataclass(frozen=True, slots=True)
class Parcel:
    """What a node must know to run one trial: the study, the trial, and where things lie on the machine that asks."""

    host: str
    folder: str
    url: str
    request: Mapping[str, Any]
    trial_id: int
    launch: Launch
    patience: float


class Bell:
    """An actor that trials ask now and then whether to stop."""

    def __init__(self) -> None:
        self._rung = False

    def ring(self) -> None:
        """Ask every trial to stop."""
        self._rung = True

    def rung(self) -> bool:
        """Whether that has been asked."""
        return self._rung


@dataclass(slots=True)
class _Sent:
    trial: Trial
    pulse: Pulse


def needs(request: TuneRequest, prediction: Prediction) -> Needs:
    """From a prediction: on a CPU its highest memory and the trial's threads; on a GPU the share it fills.

    A GPU is shared only where the study says so, since two trials on it slow each other down and the predicted
    time is that of a GPU of one's own.
    """
    high = prediction.bytes.high if prediction.bytes is not None else 0.0
    if request.hardware is None:
        return Needs(float(request.threads or 1), 0.0, math.ceil(high) + START_BYTES)
    share = 1.0
    if request.share_gpus and 0 < high <= prediction.limit_bytes:
        # rounded up to a thousandth: Ray counts in ten-thousandths, and a sum above 1 would never be placed
        share = min(1.0, math.ceil(1000 * high / prediction.limit_bytes) / 1000)
    return Needs(1.0, share, START_BYTES)


def room(nodes: Sequence[Mapping[str, Any]], request: TuneRequest) -> int:
    """Trials that the whole cluster holds at a time by their cores and GPUs; what memory allows, Ray sees to."""
    least = needs(request, Prediction(None, None, None, 1))
    count = 0
    for node in nodes:
        has = node["Resources"]
        if node["Alive"] and least.within(has):
            count += int(has["GPU"] // least.gpus if least.gpus else has["CPU"] // least.cpus)
    return max(1, count)


def connect(address: str | None) -> tuple[Any, bool]:
    """Ray, connected to the cluster at an address, to RAY_ADDRESS, or to a cluster of this machine alone.

    Also says whether the connection is ours to close.

    Raises:
        MissingExtra: Ray is not installed.
        BadRequest: no cluster answers at the address.
    """
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise MissingExtra.of("ray", extra="ray", why="--launcher ray") from error
    ours = not ray.is_initialized()
    if ours:
        try:
            _knock(address or os.environ.get("RAY_ADDRESS", ""))
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
        except (OSError, ValueError, RuntimeError) as error:
            raise BadRequest(
                f"no Ray cluster answers at {address or os.environ.get('RAY_ADDRESS') or 'this machine'}",
                cause=str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__,
                hints=["to start one: ray start --head", "then: --ray HOST:6379"],
                address=address,
            ) from error
    return ray, ours


def _knock(address: str) -> None:
    """Ray itself asks an address where nobody is for minutes."""
    host, _, port = address.partition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), KNOCK_SECONDS).close()


@dataclass(slots=True)
class Fleet:
    """Trials of one study on a Ray cluster, at most `workers` at a time."""

    folder: Path
    url: str
    workers: int
    watch: Callable[[], None] = lambda: None
    patience: float = PATIENCE_SECONDS
    salt: int = 0
    address: str | None = None
    _sent: dict[Any, _Sent] = field(default_factory=dict)
    _bell: Any = None

    def run(self) -> str:
        """Until the budget is spent; says why the search ended.

        Raises:
            AdvisorError: Ray or a node has an error that further trials would have too.
            KeyboardInterrupt: passed on after all trials have left a checkpoint and gone back into the study.
        """
        ray, ours = connect(self.address)
        check_reach(self.url, ray.nodes())
        boss = Worker(self.folder, self.url, salt=self.salt, patience=self.patience)
        rows = ray.put(_read_rows(self.folder))
        beside: Any = importlib.import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy
        here = beside(ray.get_runtime_context().get_node_id(), soft=True)  # elsewhere it would die with that node
        self._bell = ray.remote(Bell).options(num_cpus=0, scheduling_strategy=here).remote()
        before = terminated_like_interrupted()
        try:
            return self._search(ray, boss, rows)
        except BaseException:
            boss.stop.set()
            self._end(ray, boss)
            raise
        finally:
            if before is not None:
                signal.signal(signal.SIGTERM, before)
            if ours:
                ray.shutdown()

    def _search(self, ray: Any, boss: Worker, rows: Any) -> str:
        viewed = 0.0
        while True:
            self._collect(ray, boss)
            reason = boss.look()
            if reason and not self._sent:
                return reason
            begun = reason is None and len(self._sent) < self.workers and self._begin(ray, boss, rows)
            if time.monotonic() - viewed > VIEW_SECONDS:
                viewed = time.monotonic()
                self.watch()
            if not begun:
                self._wait(ray)

    def _begin(self, ray: Any, boss: Worker, rows: Any) -> bool:
        """Ask for a trial and send it off; False where there is none to be had now."""
        trial = boss.ask()
        if trial is None:
            return False
        launch = boss.launch(trial)
        if launch is None:
            return True
        wanted = needs(boss.request, launch.prediction)
        if boss.request.hardware is None:
            launch = Launch(launch.job.model_copy(update={"threads": int(wanted.cpus)}), launch.prediction)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(wanted.within(node) for node in nodes):
            most = max((node.get("memory", 0) for node in nodes), default=0)
            boss.refuse(
                trial,
                f"it needs {wanted.cpus:g} CPUs, {wanted.gpus:g} GPUs and {gib(wanted.memory_bytes)} of memory, and no "
                f"node of the cluster has them (the largest memory is {gib(int(most))})",
            )
            return True
        parcel = Parcel(
            host=socket.gethostname(),
            folder=str(self.folder),
            url=self.url,
            request=boss.request.to_document(),
            trial_id=id_of(trial),
            launch=launch,
            patience=self.patience,
        )
        remote = ray.remote(run_there).options(
            name=f"{boss.request.name}-{trial.number}",
            num_cpus=wanted.cpus,
            num_gpus=wanted.gpus,
            memory=wanted.memory_bytes,
            # a second run would be one that the study knows nothing of
            max_retries=0,
            runtime_env={"env_vars": _environment()},
        )
        pulse = Pulse(storage_of(boss.study))
        self._sent[remote.remote(parcel, rows, self._bell)] = _Sent(trial, pulse)
        return True

    def _wait(self, ray: Any) -> None:
        if self._sent:
            ray.wait(list(self._sent), num_returns=1, timeout=POLL_SECONDS)
        else:
            time.sleep(POLL_SECONDS)

    def _collect(self, ray: Any, boss: Worker) -> None:
        """What has come back, and beats for trials that wait for a node: theirs is the owner's duty, who is us."""
        if not self._sent:
            return
        ready, waiting = ray.wait(list(self._sent), num_returns=len(self._sent), timeout=0)
        for reference in ready:
            sent = self._sent.pop(reference)
            self._came_back(ray, boss, reference, sent.trial)
        for reference in waiting:
            sent = self._sent[reference]
            with contextlib.suppress(Exception):
                # a storage that is away now is waited for by whoever needs its answer
                sent.pulse.beat(id_of(sent.trial))

    def _came_back(self, ray: Any, boss: Worker, reference: Any, trial: Trial) -> None:
        exceptions = ray.exceptions
        try:
            weights = ray.get(reference)
        except exceptions.RayTaskError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, AdvisorError):
                raise cause from error
            raise AdvisorError(f"a node failed at trial {trial.number}", cause=str(error)[-2000:]) from error
        except exceptions.RayError as error:
            log.warning("trial %s: %s", trial.number, type(error).__name__)
            boss.give_back(trial, f"its node died: {type(error).__name__}")
        else:
            self._keep(boss, trial, weights)

    def _keep(self, boss: Worker, trial: Trial, weights: Mapping[str, bytes]) -> None:
        """The trained parameters of another machine, written here where the finals look for them."""
        place = ledger.trial_folder(self.folder, boss.frozen(trial))
        for name, content in weights.items():
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            durable(path, lambda temporary, content=content: _written(temporary, content))

    def _end(self, ray: Any, boss: Worker) -> None:
        """Ask every trial to leave: it checkpoints and goes back into the study; so do those that wait for a node."""
        if self._sent:
            with contextlib.suppress(ray.exceptions.RayError):  # unheard, they are cancelled below
                ray.get(self._bell.ring.remote())
            _, left = ray.wait(list(self._sent), num_returns=len(self._sent), timeout=END_SECONDS)
            for reference in left:
                ray.cancel(reference, force=True)
        for sent in self._sent.values():
            with contextlib.suppress(StoreUnavailable):
                # with the storage away too, the next session finds that we are dead
                boss.give_back(sent.trial, "interrupted")
        self._sent.clear()


def check_reach(url: str, nodes: list[dict[str, Any]]) -> None:
    """Refuse a storage that lies in a file of this machine where the cluster has others.

    Raises:
        BadRequest: nodes that cannot open the file.
    """
    if not url.startswith(("sqlite", "journal")):
        return
    far = sorted({n["NodeManagerHostname"] for n in nodes if n["Alive"]} - {socket.gethostname()})
    if far:
        raise BadRequest(
            f"the study's storage {shown(url)} is a file of this machine, and {far[0]} cannot open it",
            hints=["give one that every node reaches: --storage postgresql+psycopg://USER@HOST/DATABASE"],
            nodes=far,
        )


def _rung(bell: Any) -> bool:
    """Whether all are asked to leave; a bell that cannot be reached has not rung."""
    ray: Any = importlib.import_module("ray")
    with contextlib.suppress(ray.exceptions.RayActorError):
        return bool(ray.get(bell.rung.remote()))
    return False


def run_there(parcel: Parcel, rows: Mapping[str, bytes], bell: Any) -> dict[str, bytes]:
    """On the node: run one trial to its told end; the trained parameters where they lie on another machine's disk.

    The work is done in a thread of its own, so that this one can hear the bell; then the training is asked to stop
    and given the time to write a checkpoint, which Ray's own cancelling does not.
    """
    if _rung(bell):
        return {}
    here = parcel.host == socket.gethostname() and Path(parcel.folder).is_dir()
    folder = Path(parcel.folder) if here else _unpacked(parcel, rows)
    worker = Worker(folder, parcel.url, patience=parcel.patience)
    failed: list[BaseException] = []
    places: list[Path] = []

    def work() -> None:
        try:
            _perform(worker, parcel, folder, places)
        except BaseException as error:  # handed to the main thread, which raises it
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        thread.join(2 * POLL_SECONDS)
        if thread.is_alive() and not worker.stop.is_set() and _rung(bell):
            worker.stop.set()
    if failed:
        raise failed[0]
    return {} if here else _weights(places[0])


def _perform(worker: Worker, parcel: Parcel, folder: Path, places: list[Path]) -> None:
    from optuna.trial import Trial

    trial = worker.patiently(lambda: Trial(worker.study, parcel.trial_id))
    job = parcel.launch.job
    place = ledger.trial_folder(folder, worker.frozen(trial))
    places.append(place)
    if not worker.sign(trial):
        return
    local = job.model_copy(update={"folder": str(place), "data": str(folder / "data"), "spec": worker.request.spec})
    worker.perform(trial, Launch(local, parcel.launch.prediction))


def _unpacked(parcel: Parcel, rows: Mapping[str, bytes]) -> Path:
    """The study's folder on a machine that has none: its rows, and its request with the weights as they lie here."""
    from advisor.tuner.begin import local_weights

    request = TuneRequest.from_document(parcel.request)
    folder = store.home("cache") / "ray" / f"{request.name}-{request.splits.sha256['train'][:12]}"
    with store.locked(folder):
        if not (folder / REQUEST_FILE).is_file():
            for name, content in rows.items():
                (folder / "data").mkdir(parents=True, exist_ok=True)
                (folder / "data" / name).write_bytes(content)
            store.write(request.model_copy(update={"spec": local_weights(request.spec)}), folder / REQUEST_FILE)
    return folder


def _read_rows(folder: Path) -> dict[str, bytes]:
    files = [folder / "data" / f"{name}.jsonl" for name in SPLITS]
    return {path.name: path.read_bytes() for path in files if path.is_file()}


def _weights(place: Path) -> dict[str, bytes]:
    """Every trained parameter file of a trial, by its path below the trial's folder."""
    found = sorted(place.rglob(WEIGHTS))
    if sum(path.stat().st_size for path in found) > LARGEST_WEIGHTS:
        return {}
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in found}


def _written(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _environment() -> dict[str, str]:
    """What of our environment a trial on a node must share."""
    return {name: os.environ[name] for name in ("ADVISOR_HOME", "HF_HOME", "HF_HUB_OFFLINE") if name in os.environ}
