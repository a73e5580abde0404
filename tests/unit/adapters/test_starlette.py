"""What the session middleware refuses, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.requests import Request

from keepstate import Client
from keepstate.adapters.starlette import SessionMiddleware, rotate
from keepstate.recipes import Sessions

SESSIONS = Sessions(Client("localhost:7400"), "session", "web")


async def nothing(*arguments: Any) -> None: ...


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"secure": False, "same_site": "none"}, "must be secure"),
        ({"secure": False, "cookie": "__Host-id"}, "must be secure"),
        ({"secure": False, "cookie": "__Secure-id"}, "must be secure"),
        ({"path": "/shop", "cookie": "__Host-id"}, "the path / and no domain"),
        ({"domain": "shop.test", "cookie": "__Host-id"}, "the path / and no domain"),
        ({"secure": False, "cookie": "__host-id"}, "must be secure"),
        ({"cookie": "a;b"}, "the name of the cookie"),
        ({"cookie": "Path"}, "the name of the cookie"),
        ({"path": "shop"}, "path"),
        ({"path": ""}, "path"),
        ({"path": "/; secure"}, "path"),
        ({"path": "/\r\nx: y"}, "path"),
        ({"domain": "shop.test; path=/"}, "domain"),
        ({"domain": "shop.test\r\n"}, "domain"),
        ({"domain": ""}, "domain"),
        ({"same_site": "maybe"}, "same_site"),
    ],
)
def test_a_cookie_that_no_browser_takes_is_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        SessionMiddleware(nothing, SESSIONS, **options)


def test_a_cookie_of_this_host_alone_is_taken() -> None:
    SessionMiddleware(nothing, SESSIONS, cookie="__Host-id", same_site="none")


async def test_what_is_no_request_passes_through() -> None:
    seen: list[Any] = []

    async def app(*arguments: Any) -> None:
        seen.append(arguments)

    scope = {"type": "lifespan"}
    await SessionMiddleware(app, SESSIONS)(scope, nothing, nothing)  # type: ignore[arg-type]
    assert seen == [({"type": "lifespan"}, nothing, nothing)]


def test_another_middlewares_session_cannot_be_rotated() -> None:
    with pytest.raises(TypeError, match="not kept by"):
        rotate(Request({"type": "http", "session": {}}))
