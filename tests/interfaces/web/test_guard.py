"""Who may ask the page, and what its answers may do in a browser."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from advisor.interfaces.web.guard import HEADERS, Guard, local_address
from tests.interfaces.web.asgi import ask, asked

TOKEN = "a-token-of-some-length"


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"hello"})


OPEN, LOCKED = Guard(hello, None), Guard(hello, TOKEN)


@pytest.mark.parametrize("host", ["localhost", "localhost:8765", "127.0.0.1:1", "[::1]:8765", "LOCALHOST:80"])
def test_this_machines_own_names_are_answered(host):
    assert ask(OPEN, "/", headers={"host": host}).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8765", "", "localhost@evil.example", "[", "a/b"],
)
def test_another_name_that_means_this_machine_is_not(host):
    assert ask(OPEN, "/", headers={"host": host}).status == 400


def test_two_host_headers_are_one_too_many():
    assert ask(OPEN, "/", headers={"host": "localhost", "Host": "localhost"}).status == 400


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {"sec-fetch-site": "same-origin"}, 200),
        ("GET", {"sec-fetch-site": "none", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, 200),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, 200),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, 403),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, 403),
        ("GET", {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}, 403),
        ("POST", {"sec-fetch-site": "cross-site"}, 403),
        ("POST", {"sec-fetch-site": "same-site"}, 403),
        ("POST", {"origin": "https://evil.example"}, 403),
        ("POST", {"origin": "null"}, 403),
        ("POST", {"origin": "http://localhost:3000"}, 403),
        ("POST", {"origin": "http://localhost:8765"}, 200),
        ("POST", {}, 200),
        ("PUT", {}, 405),
        ("OPTIONS", {"origin": "https://evil.example"}, 405),
    ],
)
def test_another_site_may_lead_here_by_a_link_and_by_nothing_else(method, headers, status):
    assert ask(OPEN, "/", method=method, headers=headers).status == status


def test_every_answer_says_what_it_may_do_refusals_too():
    for told in (ask(OPEN, "/"), ask(OPEN, "/", headers={"host": "evil.example"}), ask(LOCKED, "/api/estimate")):
        for name in HEADERS:
            assert told.headers[name], name
    policy = HEADERS["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


def test_beyond_this_machine_a_token_is_needed():
    program = ask(LOCKED, "/api/estimate", method="POST", headers={"host": "box:8765"})
    assert program.status == 401
    assert "www-authenticate" in program.headers
    assert ask(LOCKED, "/", headers={"authorization": f"Bearer {TOKEN}"}).status == 200
    assert ask(LOCKED, "/", headers={"authorization": f"Bearer {TOKEN}x"}).status == 303
    assert ask(LOCKED, "/", headers={"cookie": "advisor_page=00"}).status == 303
    person = ask(LOCKED, "/recipe", "gpu=L4")
    assert (person.status, person.headers["location"]) == (303, "/token?to=%2Frecipe%3Fgpu%3DL4")
    assert ask(LOCKED, "/static/page.css").status == 200


def test_an_address_with_the_token_is_let_in_once_and_keeps_it_nowhere():
    told = ask(LOCKED, "/recipe", {"gpu": "L4", "token": TOKEN})
    assert (told.status, told.headers["location"]) == (303, "/recipe?gpu=L4")
    cookie = told.headers["set-cookie"]
    assert TOKEN not in cookie
    assert {"HttpOnly", "SameSite=Lax"} <= set(cookie.split("; "))
    assert ask(LOCKED, "/", headers={"cookie": cookie.split(";")[0]}).status == 200
    assert ask(LOCKED, "/", {"token": "wrong"}).headers["location"].startswith("/token")


@pytest.mark.parametrize(
    "address", ["//evil.example", "/\\evil.example", "https://evil.example", "", "/a b", "/a\r\nx: y"]
)
def test_one_is_led_to_no_other_site(address):
    assert local_address(address) == "/"


def test_more_than_may_ask_at_once_are_told_to_come_again():
    async def burst() -> list[Any]:
        begin = asyncio.Event()

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            await begin.wait()
            await hello(scope, receive, send)

        guard = Guard(slow, None, most_at_once=3)
        waiting = [asyncio.create_task(asked(guard, "/")) for _ in range(20)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        begin.set()
        told = await asyncio.gather(*waiting)
        assert (await asked(guard, "/")).status == 200
        return list(told)

    told = asyncio.run(burst())
    assert sorted(one.status for one in told) == [200] * 3 + [503] * 17
    assert all(one.headers["retry-after"] for one in told if one.status == 503)
