"""Kills of a search: any of its processes, or its storage's server, at a random moment; then it goes on.

Of each storage in turn, and of a study whose trainings are toys of a second and whose processes, files and storages are
the real ones. Wrong is: a completed trial that is lost, changed or run twice, a trial that is left running, a search
that does not end well, and a process that goes on.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from advisor.domain.tuning import Budget
from tests.tuner import servers
from tests.tuner.studies import begin, children, completed, environment, resuming, states

STORAGES = ("sqlite", "postgresql", "journal", "grpc", "ray")
TRIALS = 3
ORPHAN_SECONDS = 60.0
END_SECONDS = 900.0
"""Of a search that goes on, on a machine that may have other work to do."""
TRIAL, WORKER = "advisor.training.training_worker", "advisor.tuner.execution.trial_worker"
TOY = {"steps": "6", "seconds": "0.2", "grace": "3"}


@dataclass(slots=True)
class Place:
    """A study's storage: its URL, how its search is started, and a server that can be killed and started."""

    url: str
    search: Callable[[], Any]
    server: Any = None
    nodes: Any = None


def case(number: int, seed: int, place: Path) -> dict[str, Any]:
    """One kill, and what was wrong after it."""
    draw = random.Random(f"{seed}/kills/{number}")
    kind = STORAGES[number % len(STORAGES)]
    folder = place / f"kill-{number}"
    shutil.rmtree(folder, ignore_errors=True)
    with storage(kind, number, folder) as where:
        study = begin(folder, where.url, budget=Budget(trials=TRIALS), neighbours=1)
        search = where.search()
        until(lambda: in_folder(folder, TRIAL) or search.poll() is not None, 120)
        time.sleep(draw.uniform(0.0, 3.0))
        known = {t.number: t.value for t in completed(study)}
        victim = draw.choice(victims(where))
        struck = strike(victim, search, folder, where, draw)
        found = list(ending(search, folder, where, victim if struck else ""))
        found += wrong(study, known, folder)
    shutil.rmtree(folder, ignore_errors=True)
    return {"kind": f"{kind}: {victim}", "struck": struck, "count": int(struck), "faults": found}


def victims(where: Place) -> list[str]:
    """What can be killed there."""
    servers_too = ["server"] if where.server else ["node"] if where.nodes else []
    return ["search", "trial", *([] if where.nodes else ["worker"]), *servers_too]


def strike(victim: str, search: Any, folder: Path, where: Place, draw: random.Random) -> bool:
    """Kill one process; whether there was one to kill."""
    if victim == "server":
        where.server.stop()
        time.sleep(draw.uniform(0.0, 5.0))
        where.server.start()
        return True
    if victim == "node":
        node = draw.choice([n for n in where.nodes.list_all_nodes() if n is not where.nodes.head_node])
        where.nodes.remove_node(node, allow_graceful=False)
        add_node(where.nodes)
        return True
    there = {
        "search": lambda: [search],
        "worker": lambda: children(search, WORKER),
        "trial": lambda: in_folder(folder, TRIAL),
    }[victim]
    until(lambda: there() or search.poll() is not None, END_SECONDS)
    running = there()
    if search.poll() is not None or not running:
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        draw.choice(running).send_signal(signal.SIGKILL)
        return True
    return False


def ending(search: Any, folder: Path, where: Place, victim: str) -> Iterator[str]:
    """Wait for the search, start a killed one again, and look for what goes on without it."""
    if victim == "search":
        search.communicate()
        yield from orphans(folder)
        search = where.search()
    try:
        _, err = search.communicate(timeout=END_SECONDS)
    except Exception:
        search.kill()
        search.communicate()
        yield "hang"
        return
    if search.returncode:
        yield f"ended with {search.returncode}: {err.strip().splitlines()[-1][:200] if err.strip() else ''}"
    yield from orphans(folder)


def orphans(folder: Path) -> Iterator[str]:
    """Processes of a search that is over, after the time they have to see it."""
    until(lambda: not in_folder(folder, "advisor."), ORPHAN_SECONDS)
    for left in in_folder(folder, "advisor."):
        yield f"orphan: {' '.join(words(left))[-150:]}"
        with contextlib.suppress(psutil.NoSuchProcess):
            left.kill()


def wrong(study: Any, known: dict[int, float | None], folder: Path) -> Iterator[str]:
    """What a search that went on after a kill has lost or done twice."""
    now = {t.number: t.value for t in completed(study)}
    rates = [t.params["learning_rate"] for t in completed(study)]
    if any(now.get(number) != value for number, value in known.items()):
        yield f"lost: {known} became {now}"
    if len(now) != TRIALS:
        yield f"lost: {len(now)} of {TRIALS} trials"
    if len(set(rates)) < len(rates):
        yield f"repeated: {rates}"
    if states(study)["RUNNING"]:
        yield "left running"
    if not (folder / "best" / "adapter_model.safetensors").is_file():
        yield "lost: no adapter"


def in_folder(folder: Path, module: str) -> list[psutil.Process]:
    """Processes of a module of ours that work in a folder."""
    found = [(process, words(process)) for process in psutil.process_iter()]
    return [p for p, said in found if any(module in w for w in said) and any(str(folder) in w for w in said)]


def words(process: psutil.Process) -> list[str]:
    """A process's command line; empty where it is gone."""
    try:
        return process.cmdline() if process.status() != psutil.STATUS_ZOMBIE else []
    except psutil.Error:
        return []


def until(true: Callable[[], Any], seconds: float) -> None:
    """Wait for something, and no longer."""
    ends = time.monotonic() + seconds
    while not true() and time.monotonic() < ends:
        time.sleep(0.1)


@contextlib.contextmanager
def storage(kind: str, number: int, folder: Path) -> Iterator[Place]:
    """A storage of its own for one study."""
    file = folder.with_suffix(".db")
    file.unlink(missing_ok=True)

    def local(url: str) -> Callable[[], Any]:
        return lambda: resuming(folder, workers=1 + number % 2, storage=url, patience=300, **TOY)

    if kind == "postgresql":
        server = postgres()
        url = server.url(database(server, f"kill{number}"))
        yield Place(url, local(url), server)
    elif kind == "grpc":
        with servers.grpc_server(f"sqlite:///{file}") as server:
            yield Place(server.url, local(server.url), server)
    elif kind == "ray":
        nodes, url = ray_nodes(), f"sqlite:///{file}"
        there = {"workers": 0, "launcher": "ray", "ray": nodes.address, "storage": url, "patience": 300}
        yield Place(url, lambda: resuming(folder, **there, **TOY), nodes=nodes)
    else:
        url = f"journal:{file}" if kind == "journal" else f"sqlite:///{file}"
        yield Place(url, local(url))
    file.unlink(missing_ok=True)


def database(server: servers.Postgres, name: str) -> str:
    """An empty database of a server."""
    import psycopg

    plain = server.url().replace("+psycopg", "")
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")  # type: ignore[call-overload]
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
    return name


@cache
def postgres() -> servers.Postgres:
    """A server for all cases of this process."""
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(servers.postgres_server())


@cache
def ray_nodes() -> Any:
    """A head without cores and two nodes of one core each, for all cases of this process."""
    from ray.cluster_utils import Cluster

    # a trial's environment is its node's
    os.environ |= environment(Path(os.environ["ADVISOR_HOME"]), **TOY) | {"RAY_USAGE_STATS_ENABLED": "0"}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    atexit.register(made.shutdown)
    for _ in range(2):
        add_node(made)
    return made


def add_node(nodes: Any) -> None:
    """A node of one core more."""
    nodes.add_node(num_cpus=1, memory=4 * 2**30, object_store_memory=100 * 2**20)
