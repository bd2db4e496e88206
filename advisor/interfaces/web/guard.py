"""Who may ask the page, and what its answers may do in a browser: checked before anything else is.

A page on this machine's own address can be reached by every website that its user visits, through the browser: by a
name that is made to mean this machine (DNS rebinding), by forms and pictures that ask across sites. So the host must be
this machine's, what comes from another site may only follow a link, and the answers may run no script but ours. Beyond
loopback a token is asked for as well.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

OWN_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})
METHODS: Final = ("GET", "HEAD", "POST")
MOST_AT_ONCE: Final = 128
"""Requests that are answered at a time; the others are told to come again."""
COOKIE: Final = "advisor_page"
OPEN: Final = ("/static/", "/token")
"""What is shown without a token: the style, and the form that asks for it."""
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Guard:
    """The outermost application.

    Args:
        application: what is guarded.
        token: what a reader has to know; None on loopback, where the host is checked instead.
    """

    def __init__(self, application: Application, token: str | None, most_at_once: int = MOST_AT_ONCE) -> None:
        self.application = application
        self.token = token
        self.most_at_once = most_at_once
        self.at_once = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.application(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = _headers(scope)

        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                said = {name.decode("latin-1").lower() for name, _ in message.get("headers", [])}
                more = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name not in said]
                message = {**message, "headers": [*message.get("headers", []), *more]}
            await send(message)

        if self.at_once >= self.most_at_once:
            await _refuse(guarded, scope, 503, "too many are asking at once; try again", {"retry-after": "2"})
            return
        self.at_once += 1
        try:
            if not await self._refused(scope, headers, guarded):
                await self.application(scope, receive, guarded)
        finally:
            self.at_once -= 1

    async def _refused(self, scope: Scope, headers: Mapping[str, str], send: Send) -> bool:
        """Answer what is not to be answered, and say whether that was so."""
        if scope["method"] not in METHODS:
            await _refuse(send, scope, 405, "only GET, HEAD and POST are answered", {"allow": ", ".join(METHODS)})
        elif (wrong := self._wrong_host(scope, headers)) is not None:
            await _refuse(send, scope, 400, wrong)
        elif _from_elsewhere(scope["method"], headers):
            await _refuse(send, scope, 403, "this was asked by another site; only a link may lead here")
        elif self.token is not None and not scope["path"].startswith(OPEN) and not self._known(headers):
            given = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)).get("token")
            if scope["method"] == "GET" and given is not None and self.right(given):
                await _redirect(send, _without_token(scope), self.cookie())
            elif scope["path"].startswith("/api/") or scope["path"] == "/openapi.json":
                told = {"www-authenticate": 'Bearer realm="advisor"'}
                await _refuse(send, scope, 401, "a token is needed: Authorization: Bearer TOKEN", told)
            else:
                asked = scope["path"] + ("?" + query if (query := scope["query_string"].decode("latin-1")) else "")
                await _redirect(send, f"/token?to={quote(asked, safe='')}")
        else:
            return False
        return True

    def right(self, given: str) -> bool:
        """Whether this is the token."""
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())

    def cookie(self) -> str:
        """The header that lets a browser in that has shown the token; the token itself is not kept there."""
        return f"{COOKIE}={self._digest()}; HttpOnly; SameSite=Lax; Path=/"

    def _digest(self) -> str:
        return hashlib.sha256(f"advisor page {self.token}".encode()).hexdigest()

    def _known(self, headers: Mapping[str, str]) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self.right(given.strip()):
            return True
        cookies = [part.strip() for part in headers.get("cookie", "").split(";")]
        given = next((part.removeprefix(f"{COOKIE}=") for part in cookies if part.startswith(f"{COOKIE}=")), "")
        return hmac.compare_digest(given.encode(), self._digest().encode())

    def _wrong_host(self, scope: Scope, headers: Mapping[str, str]) -> str | None:
        """What is wrong with the Host header. With a token any name will do: without knowing it a name is no use."""
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        host = _name_of(headers.get("host", ""))
        if len(hosts) != 1 or not host:
            return "one Host header is needed"
        if self.token is None and host not in OWN_HOSTS:
            return f"this page is at localhost, not at {host[:100]}"
        return None


def _from_elsewhere(method: str, headers: Mapping[str, str]) -> bool:
    """Whether another site's page asked this: a link from there may be followed, nothing else."""
    site = headers.get("sec-fetch-site", "none")
    if method == "POST":
        origin = headers.get("origin")
        return site not in ("same-origin", "none") or (
            origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
        )
    if site in ("same-origin", "none"):
        return False
    return (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) != ("navigate", "document")


def _name_of(host: str) -> str:
    """A Host header without its port; empty where it is none."""
    try:
        parts = urlsplit(f"//{host}")
        return "" if parts.path or parts.query or "@" in host else (parts.hostname or "")
    except ValueError:
        return ""


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _without_token(scope: Scope) -> str:
    asked = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    query = urlencode([(name, value) for name, value in asked if name != "token"])
    return local_address(scope["path"] + (f"?{query}" if query else ""))


def local_address(address: str) -> str:
    """An address of this page, to be led to; another site's becomes the first page."""
    plain = address.startswith("/") and not address.startswith(("//", "/\\"))
    return address if plain and all(32 < ord(sign) < 127 for sign in address) else "/"


async def _redirect(send: Send, address: str, cookie: str | None = None) -> None:
    headers = {"location": address, "cache-control": "no-store", "content-length": "0"}
    await _send(send, 303, {**headers, **({"set-cookie": cookie} if cookie else {})}, b"")


async def _refuse(send: Send, scope: Scope, status: int, why: str, more: Mapping[str, str] | None = None) -> None:
    """A refusal in the form of every other error."""
    told: dict[str, Any] = {"error": "Refused", "message": why, "cause": "", "hints": [], "exit_code": 2}
    as_json = scope["path"].startswith("/api/")
    body = (json.dumps(told) if as_json else f"advisor: {why}\n").encode()
    kind = "application/json" if as_json else "text/plain; charset=utf-8"
    headers = {"content-type": kind, "content-length": str(len(body)), "cache-control": "no-store"}
    await _send(send, status, {**headers, **(more or {})}, b"" if scope["method"] == "HEAD" else body)


async def _send(send: Send, status: int, headers: Mapping[str, str], body: bytes) -> None:
    pairs = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
