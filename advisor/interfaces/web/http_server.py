"""The page on a port: this machine's alone, or with a token on any other address."""

from __future__ import annotations

import errno
import importlib.util
import ipaddress
import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from advisor.errors import BadRequest, MissingExtra

HOST: Final = "127.0.0.1"
PORT: Final = 8765
TOKEN: Final = "ADVISOR_WEB_TOKEN"
"""Environment variable with a token of one's own; else one is drawn."""
SHORTEST_TOKEN: Final = 16
MOST_CONNECTIONS: Final = 512


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the page is: the address to open, with the token where one is needed, and what is to be said of it."""

    address: str
    note: str = ""


def serve(host: str | None, port: int | None, on_listening: Callable[[Listening], None]) -> None:
    """Answer until interrupted.

    Args:
        host: the address to listen on, this machine's own where it is None; any other needs a token.
        port: 8765 where it is None; 0: any that is free.
        on_listening: told when the page can be opened.

    Raises:
        MissingExtra: FastAPI or uvicorn is not installed.
        BadRequest: the port is in use or not allowed, the host is no address of this machine.
    """
    check_installed()
    bound = _bound(host or HOST, PORT if port is None else port)
    token = None if is_loopback(host or HOST) else _token()
    import uvicorn

    from advisor.interfaces.web.application import application
    from advisor.interfaces.web.job_queue import JobQueue

    jobs = JobQueue()
    jobs.ask("ready", {}, "quick")
    try:
        config = uvicorn.Config(
            application(jobs, token),
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="off",
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=1,
        )
        on_listening(_listening(host or HOST, bound.getsockname()[1], token))
        uvicorn.Server(config).run(sockets=[bound])
    finally:
        jobs.close()
        bound.close()


def check_installed() -> None:
    """Raises MissingExtra where FastAPI or uvicorn is not installed."""
    if importlib.util.find_spec("fastapi") is None:
        raise MissingExtra.of("fastapi", extra="web", why="the page")
    if importlib.util.find_spec("uvicorn") is None:
        raise MissingExtra.of("uvicorn", extra="web", why="the page")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise _refusal(error, host, port) from error


def _refusal(error: OSError, host: str, port: int) -> BadRequest:
    fields: dict[str, Any] = {"host": host, "port": port}
    if error.errno == errno.EADDRINUSE:
        hints = ["another one: advisor web --port 0 takes any that is free"]
        return BadRequest(f"port {port} is in use", cause="perhaps by another advisor web", hints=hints, **fields)
    if error.errno in (errno.EACCES, errno.EPERM):
        return BadRequest(f"port {port} is not for you to open", hints=["one above 1023: --port 8765"], **fields)
    hints = [f"this machine alone: --host {HOST}", "every address: --host 0.0.0.0"]
    return BadRequest(
        f"{host} is no address of this machine", cause=error.strerror or str(error), hints=hints, **fields
    )


def _token() -> str:
    given = os.environ.get(TOKEN)
    if given is None:
        return secrets.token_urlsafe(24)
    if len(given) < SHORTEST_TOKEN or not given.isascii() or not given.isprintable():
        raise BadRequest(f"{TOKEN} must have at least {SHORTEST_TOKEN} printable ASCII characters", field=TOKEN)
    return given


def _listening(host: str, port: int, token: str | None) -> Listening:
    named = "localhost" if host == HOST else f"[{host}]" if ":" in host else host
    if token is None:
        return Listening(f"http://{named}:{port}/")
    open_to_all = host in ("0.0.0.0", "::")
    note = "not encrypted: for more than a trusted network put it behind TLS, or use an SSH tunnel"
    return Listening(f"http://{socket.gethostname() if open_to_all else named}:{port}/?token={token}", note)
