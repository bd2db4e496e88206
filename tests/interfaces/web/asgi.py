"""A browser's and a program's questions to the page's application, without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from advisor.interfaces.web.job_worker import done


@dataclass
class Told:
    """A response."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def text(self) -> str:
        return self.body.decode()


def ask(
    application: Any,
    path: str,
    query: Mapping[str, Any] | str = "",
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> Told:
    """One request and its response."""
    return asyncio.run(asked(application, path, query, method=method, headers=headers, body=body))


async def asked(
    application: Any,
    path: str,
    query: Mapping[str, Any] | str = "",
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> Told:
    sent = {"host": "localhost:8765", **(headers or {})}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": (query if isinstance(query, str) else urlencode(query)).encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items() if value],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8765),
    }
    told = Told()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            told.status = message["status"]
            told.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            told.body += message.get("body", b"")

    await application(scope, receive, send)
    return told


class Here:
    """A worker that is no process of its own."""

    def ask(self, verb: str, arguments: dict[str, Any], hear: Any) -> dict[str, Any]:
        import json

        def say(message: Mapping[str, Any]) -> None:
            hear(json.loads(json.dumps(message)))

        return json.loads(json.dumps(done(verb, json.loads(json.dumps(arguments)), say), default=str))

    def end(self) -> None:
        """Nothing has to be ended."""
