"""A Ray cluster as a study sees it: what its nodes have, what a training asks of them, sending and recalling it."""

from __future__ import annotations

import contextlib
import importlib
import logging
import math
import os
import socket
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from advisor import processes, store
from advisor.dataset.splits import SPLITS
from advisor.domain.units import gib
from advisor.errors import AdvisorError, BadRequest, MissingExtra
from advisor.tuner.execution.local_runner import END_SECONDS
from advisor.tuner.execution.ray_task import RemoteResult, RemoteTask, StopSignal, run_there
from advisor.tuner.storage.connect import redact
from advisor.tuner.trial_cost import Prediction
from advisor.tuner.tune_request import TuneRequest

KNOCK_SECONDS: Final = 10.0
START_BYTES: Final = 600 * 2**20
"""What a trial's process holds before it trains: torch and transformers, imported (measured: 430 to 560 MiB)."""


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
class Cluster:
    """The cluster while we use it, with the study's rows and the stop flag of its trainings on it."""

    ray: Any
    rows: Any
    stop_signal: Any

    def nodes(self) -> list[Mapping[str, float]]:
        """What each living node has."""
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]

    def largest_bytes(self) -> int:
        """The memory of the node that has most."""
        return int(max((node.get("memory", 0) for node in self.nodes()), default=0))

    def unplaceable(self, wanted: Needs) -> str:
        """Why no node could ever run it, or nothing."""
        if any(wanted.within(node) for node in self.nodes()):
            return ""
        return (
            f"it needs {wanted.cpus:g} CPUs, {wanted.gpus:g} GPUs and {gib(wanted.memory_bytes)} of memory, and no "
            f"node of the cluster has them (the largest memory is {gib(self.largest_bytes())})"
        )

    def send(self, remote_task: RemoteTask, wanted: Needs) -> Any:
        """Hand a training to Ray, which finds it a node."""
        remote = self.ray.remote(run_there).options(
            name=f"{remote_task.launch.job.study}-{remote_task.launch.job.number}",
            num_cpus=wanted.cpus,
            num_gpus=wanted.gpus,
            memory=wanted.memory_bytes,
            # a second run would be one that the study knows nothing of
            max_retries=0,
            runtime_env={"env_vars": _environment()},
        )
        return remote.remote(remote_task, self.rows, self.stop_signal)

    def open(self, reference: Any, what: str) -> RemoteResult:
        """What a node brought back.

        Raises:
            AdvisorError: the node's own error.
            RayError: the node is gone.
        """
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, AdvisorError):
                raise cause from error
            raise AdvisorError(f"a node failed at {what}", cause=str(error)[-2000:]) from error

    def recall(self, references: Sequence[Any]) -> None:
        """Ask all trainings to checkpoint and leave; those that do not in time are cancelled."""
        if not references:
            return
        with contextlib.suppress(self.ray.exceptions.RayError):  # unheard, they are cancelled below
            self.ray.get(self.stop_signal.ring.remote())
        _, left = self.ray.wait(list(references), num_returns=len(references), timeout=END_SECONDS)
        for reference in left:
            self.ray.cancel(reference, force=True)


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
            with _nowhere():
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
        except (OSError, ValueError, RuntimeError) as error:
            raise BadRequest(
                f"no Ray cluster answers at {address or os.environ.get('RAY_ADDRESS') or 'this machine'}",
                cause=str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__,
                hints=["to start one: ray start --head", "then: --ray HOST:6379"],
                address=address,
            ) from error
    return ray, ours


@contextlib.contextmanager
def _nowhere() -> Generator[None]:
    """Stand in an empty folder of ours: Ray puts the current one first among its workers' imports.

    Where the user stands may be a stranger's model folder with a `torch.py` in it.
    """
    empty, safe = store.home("cache") / "ray-starts-here", os.environ.get("PYTHONSAFEPATH")
    before: str | None = None
    with contextlib.suppress(OSError):
        before = os.getcwd()
    try:
        empty.mkdir(parents=True, exist_ok=True)
    except OSError:
        empty = Path(os.sep)
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        os.chdir(empty)
        yield
    finally:
        if safe is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = safe
        if before is not None:
            os.chdir(before)


def _knock(address: str) -> None:
    """Ray itself asks an address where nobody is for minutes."""
    host, _, port = address.partition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), KNOCK_SECONDS).close()


@contextlib.contextmanager
def gathered(address: str | None, url: str, folder: Path) -> Generator[Cluster]:
    """The cluster, connected to for a study in a folder, its storage at `url`; SIGTERM ends us as Ctrl-C does.

    Raises:
        As `connect` and `check_reach`.
    """
    ray, ours = connect(address)
    try:
        check_reach(url, ray.nodes())
        beside: Any = importlib.import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy
        here = beside(ray.get_runtime_context().get_node_id(), soft=True)  # elsewhere it would die with that node
        stop_signal = ray.remote(StopSignal).options(num_cpus=0, scheduling_strategy=here).remote()
        with processes.interrupted_by_signals():
            yield Cluster(ray, ray.put(_read_rows(folder)), stop_signal)
    finally:
        if ours:
            ray.shutdown()


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
            f"the study's storage {redact(url)} is a file of this machine, and {far[0]} cannot open it",
            hints=["give one that every node reaches: --storage postgresql+psycopg://USER@HOST/DATABASE"],
            nodes=far,
        )


def _environment() -> dict[str, str]:
    """What of our environment a trial on a node must share."""
    return {name: os.environ[name] for name in ("ADVISOR_HOME", "HF_HOME", "HF_HUB_OFFLINE") if name in os.environ}


def _read_rows(folder: Path) -> dict[str, bytes]:
    files = [folder / "data" / f"{name}.jsonl" for name in SPLITS]
    return {path.name: path.read_bytes() for path in files if path.is_file()}
