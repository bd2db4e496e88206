"""Storages' servers on loopback, to be stopped and started: PostgreSQL and optuna's gRPC proxy."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

POSTGRES = Path(next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), "/nowhere"))
PROXY = (
    "import sys, optuna; from optuna.storages import RDBStorage, run_grpc_proxy_server as run;"
    "run(RDBStorage(sys.argv[1]), host='127.0.0.1', port=int(sys.argv[2]))"
)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Postgres:
    """A PostgreSQL server of our own, whether we are root or not."""

    def __init__(self, place: Path) -> None:
        self.port = free_port()
        self._user: list[str] = []
        if os.geteuid() == 0:
            shutil.chown(place, "postgres")
            self._user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        self._run(str(POSTGRES / "initdb"), "-D", str(place / "db"), "-U", "tuner", "--auth=trust")
        self._options = f"-p {self.port} -k {place} -c listen_addresses=127.0.0.1"
        self._control = [str(POSTGRES / "pg_ctl"), "-D", str(place / "db"), "-w", "-l", str(place / "log")]
        self.start()

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://tuner@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        self._run(*self._control, "-o", self._options, "start")

    def stop(self, *, check: bool = True) -> None:
        """At once, as a killed server ends: connections break, and the log is read again at the next start."""
        self._run(*self._control, "-m", "immediate", "stop", check=check)

    def _run(self, *command: str, check: bool = True) -> None:
        subprocess.run([*self._user, *command], check=check, stdout=subprocess.DEVNULL, cwd="/")


@contextlib.contextmanager
def postgres_server() -> Iterator[Postgres]:
    # not below pytest's own folder, which is closed to the server's user
    place = Path(tempfile.mkdtemp(prefix="pg-"))
    server = Postgres(place)
    try:
        yield server
    finally:
        server.stop(check=False)
        shutil.rmtree(place, ignore_errors=True)


class GrpcProxy:
    """Optuna's proxy before a database."""

    def __init__(self, storage: str) -> None:
        self.storage, self.port = storage, free_port()
        self.start()

    @property
    def url(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-W", "ignore", "-c", PROXY, self.storage, str(self.port)]
        self.process: subprocess.Popen[Any] = subprocess.Popen(command)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def grpc_server(storage: str) -> Iterator[GrpcProxy]:
    server = GrpcProxy(storage)
    try:
        yield server
    finally:
        server.stop()
