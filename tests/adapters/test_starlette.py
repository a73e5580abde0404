"""What the middleware documents, through an application at each of two instances and one browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from http.cookies import SimpleCookie
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect

from keepstate import Client, Record, State
from keepstate.adapters.starlette import SessionMiddleware, rotate
from keepstate.recipes import Sessions
from tests.recipes.conftest import Mortal, View

pytestmark = pytest.mark.containers

PREFIX = ("session", "web")


class Meeting:
    """Where requests wait until so many of them have come."""

    def __init__(self) -> None:
        self.of(1)

    def of(self, parties: int) -> None:
        self._barrier = asyncio.Barrier(parties)

    async def wait(self) -> None:
        async with asyncio.timeout(30):
            await self._barrier.wait()

    async def somebody_waits(self) -> None:
        async with asyncio.timeout(30):
            while not self._barrier.n_waiting:
                await asyncio.sleep(0.01)


MEETING = Meeting()


async def change(request: Request) -> Response:
    """Sets the members that the body names, once all have met; null is a value. `remove` names others."""
    session = request.session
    before = dict(session)
    await MEETING.wait()
    session.update(await request.json())
    for name in request.query_params.getlist("remove"):
        session.pop(name, None)
    return JSONResponse(before)


async def show(request: Request) -> Response:
    return JSONResponse(request.session)


async def deep(request: Request) -> Response:
    request.session["cart"]["items"].append("pear")
    return JSONResponse({})


async def same(request: Request) -> Response:
    request.session["user"] = str(request.session["user"])
    request.session.pop("nobody", None)
    return JSONResponse({})


async def untouched(request: Request) -> Response:
    return JSONResponse({})


async def login(request: Request) -> Response:
    rotate(request)
    request.session["user"] = request.query_params["user"]
    await MEETING.wait()
    return JSONResponse({})


async def logout(request: Request) -> Response:
    request.session.clear()
    if "note" in request.query_params:
        request.session["note"] = request.query_params["note"]
    return JSONResponse({})


async def fail(request: Request) -> Response:
    request.session["a"] = "failed"
    raise ZeroDivisionError


async def not_json(request: Request) -> Response:
    request.session["when"] = {1, 2}
    return JSONResponse({})


async def stream(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        request.session["streamed"] = 1
        with pytest.raises(RuntimeError, match="has begun"):
            rotate(request)
        yield b"{}"

    async def after() -> None:
        request.session["after"] = 2

    return StreamingResponse(parts(), background=BackgroundTask(after))


async def bye(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        request.session.clear()
        request.session["note"] = "nobody will have the id"
        yield b"{}"

    return StreamingResponse(parts())


async def public(request: Request) -> Response:
    request.session["seen"] = 1
    return JSONResponse({}, headers={"cache-control": "max-age=60"})


async def past_the_request(request: Request) -> Response:
    request.scope["session"]["a"] = 1
    return JSONResponse({})


async def talk(websocket: WebSocket) -> None:
    websocket.session["talks"] = websocket.session.get("talks", 0) + 1
    await websocket.accept()
    while True:  # until the browser has gone, which is raised
        websocket.session["heard"] = await websocket.receive_text()


def application(sessions: Sessions, **options: Any) -> Starlette:
    handlers: list[Callable[[Request], Awaitable[Response]]]
    handlers = [change, show, deep, same, untouched, login, logout, fail, not_json, stream]
    handlers += [bye, public, past_the_request]
    routes = [Route(f"/{each.__name__}", each, methods=["GET", "POST"]) for each in handlers]
    return Starlette(
        routes=[*routes, WebSocketRoute("/talk", talk)],
        middleware=[Middleware(SessionMiddleware, sessions=sessions, **options)],
    )


class Alternating(httpx.AsyncBaseTransport):
    """Sends each request to the next of the applications."""

    def __init__(self, *applications: ASGIApp) -> None:
        self._transports = [httpx.ASGITransport(each, raise_app_exceptions=False) for each in applications]
        self._next = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._next += 1
        return await self._transports[self._next % len(self._transports)].handle_async_request(request)


@pytest.fixture(autouse=True)
def meeting() -> None:
    """Requests wait for each other only where a case says so."""
    MEETING.of(1)


@pytest.fixture
def web(one: View, other: View) -> list[Starlette]:
    """An application at each instance."""
    return [application(Sessions(view.asynchronous, *PREFIX)) for view in (one, other)]


@pytest.fixture
async def browser(web: list[Starlette]) -> AsyncIterator[httpx.AsyncClient]:
    """Keeps cookies; each request goes to the other application."""
    async with httpx.AsyncClient(transport=Alternating(*web), base_url="https://shop") as made:
        yield made


def cookie_of(response: httpx.Response) -> Any:
    """The one cookie that a response sets."""
    (text,) = response.headers.get_list("set-cookie")
    (found,) = SimpleCookie(text).values()
    return found


async def kept(state: State[Any], session_id: str) -> Record[Any] | None:
    return await state.get_record(f"session:web:{session_id}")


async def shown(browser: httpx.AsyncClient) -> Any:
    return (await browser.get("/show")).json()


async def test_the_first_thing_that_is_put_begins_a_session(browser: httpx.AsyncClient, state: State[Any]) -> None:
    nothing = await browser.get("/show")
    assert nothing.json() == {}
    assert "set-cookie" not in nothing.headers
    assert nothing.headers["vary"] == "Cookie"
    cookie = cookie_of(await browser.post("/change", json={"user": "ada", "note": None}))
    record = await kept(state, cookie.value)
    assert record is not None
    assert record.value == {"user": "ada", "note": None}
    assert (cookie.key, cookie["path"], cookie["max-age"], cookie["samesite"]) == ("session", "/", "3600", "lax")
    assert cookie["secure"] is True
    assert cookie["httponly"] is True
    assert await shown(browser) == {"user": "ada", "note": None}


async def test_the_cookies_attributes_are_those_asked_for(one: View) -> None:
    sessions = Sessions(one.asynchronous, *PREFIX, ttl=timedelta(seconds=90))
    app = application(sessions, cookie="sid", path="/shop", domain="shop.test", secure=False, same_site="strict")
    async with httpx.AsyncClient(transport=Alternating(app), base_url="http://shop.test") as browser:
        begun, ended = (await browser.post("/change", json={"a": 1}), await browser.post("/logout"))
        for response in (begun, ended):
            cookie = cookie_of(response)
            assert (cookie.key, cookie["path"], cookie["domain"]) == ("sid", "/shop", "shop.test")
            assert (cookie["secure"], cookie["httponly"], cookie["samesite"]) == ("", True, "strict")
        assert (cookie_of(begun)["max-age"], cookie_of(ended)["max-age"]) == ("90", "0")


async def test_nothing_is_written_where_nothing_changed(browser: httpx.AsyncClient, state: State[Any]) -> None:
    session = cookie_of(await browser.post("/change", json={"user": "ada", "cart": {"items": []}})).value
    before = await kept(state, session)
    assert before is not None
    for path in ("/show", "/same", "/untouched"):
        assert (await browser.get(path)).status_code == 200
    after = await kept(state, session)
    assert after is not None
    assert (after.etag, after.update_time) == (before.etag, before.update_time)


async def test_a_change_deep_inside_is_kept(browser: httpx.AsyncClient) -> None:
    await browser.post("/change", json={"cart": {"items": ["apple"]}})
    await browser.get("/deep")
    assert await shown(browser) == {"cart": {"items": ["apple", "pear"]}}


async def test_requests_of_one_session_keep_each_others_changes(browser: httpx.AsyncClient) -> None:
    await browser.post("/change", json={"user": "ada", "a": 1, "b": 2})
    MEETING.of(8)  # many more take longer on a busy machine than a call may
    asked = [browser.post("/change", json={f"n{number}": number}) for number in range(6)]
    asked += [browser.post("/change?remove=a", json={}), browser.post("/change", json={"b": None})]
    answers = await asyncio.gather(*asked)
    assert [each.json() for each in answers] == [{"user": "ada", "a": 1, "b": 2}] * 8  # none saw another's
    assert await shown(browser) == {"user": "ada", "b": None} | {f"n{number}": number for number in range(6)}


async def test_a_change_whose_answer_was_lost_is_kept_once(lossy: Mortal, state: State[Any]) -> None:
    app = application(Sessions(lossy.asynchronous, *PREFIX))
    async with httpx.AsyncClient(transport=Alternating(app), base_url="https://shop") as browser:
        for number in range(6):
            await browser.post("/change", json={f"n{number}": number})
            assert cookie_of(await browser.get(f"/login?user=user{number}")).value
        assert await shown(browser) == {"user": "user5"} | {f"n{number}": number for number in range(6)}
        assert lossy.network.lost >= 6


async def test_the_expiry_of_session_and_cookie_moves_with_each_use(
    browser: httpx.AsyncClient, state: State[Any]
) -> None:
    session = cookie_of(await browser.post("/change", json={"a": 1})).value
    await state.touch(f"session:web:{session}", ttl=timedelta(minutes=1))
    cookie = cookie_of(await browser.get("/show"))
    assert (cookie.value, cookie["max-age"]) == (session, "3600")
    record = await kept(state, session)
    assert record is not None
    assert record.expire_time is not None
    assert record.expire_time - await state.now() > timedelta(minutes=59)


async def test_a_session_that_nobody_uses_ends(one: View, state: State[Any]) -> None:
    app = application(Sessions(one.asynchronous, *PREFIX, ttl=timedelta(seconds=1)))
    async with httpx.AsyncClient(transport=Alternating(app), base_url="https://shop") as browser:
        session = cookie_of(await browser.post("/change", json={"a": 1})).value
        async with asyncio.timeout(10):
            while await kept(state, session) is not None:
                await asyncio.sleep(0.05)
        answer = await browser.get("/show", headers={"cookie": f"session={session}"})
        assert answer.json() == {}
        assert "set-cookie" not in answer.headers


async def test_a_response_that_has_not_used_the_session_says_nothing_of_it(browser: httpx.AsyncClient) -> None:
    await browser.post("/change", json={"a": 1})
    answer = await browser.get("/untouched")
    assert "set-cookie" not in answer.headers
    assert "vary" not in answer.headers


@pytest.mark.parametrize("forged", ["A" * 43, "x", "a:b", "../../etc", "A" * 5000, '"\\303\\244"', "null"])
async def test_an_id_that_a_visitor_brings_is_never_taken_over(browser: httpx.AsyncClient, forged: str) -> None:
    begun = await browser.post("/change", json={"a": 1}, headers={"cookie": f"session={forged}"})
    assert begun.json() == {}
    assert cookie_of(begun).value != forged
    assert (await browser.get("/show", headers={"cookie": f"session={forged}"})).json() == {}


async def test_a_login_gives_the_session_a_new_id(browser: httpx.AsyncClient, state: State[Any]) -> None:
    old = cookie_of(await browser.post("/change", json={"cart": [1]})).value
    new = cookie_of(await browser.get("/login?user=ada")).value
    assert new != old
    assert await kept(state, old) is None
    assert await shown(browser) == {"cart": [1], "user": "ada"}
    stolen = await browser.post("/change", json={"user": "eve"}, headers={"cookie": f"session={old}"})
    assert stolen.json() == {}
    assert await kept(state, old) is None
    record = await kept(state, new)
    assert record is not None
    assert record.value == {"cart": [1], "user": "ada"}


async def test_a_login_without_a_session_begins_one(browser: httpx.AsyncClient) -> None:
    await browser.get("/login?user=ada")
    assert await shown(browser) == {"user": "ada"}


async def test_of_two_logins_at_once_each_is_told_a_session_of_its_own(
    browser: httpx.AsyncClient, state: State[Any]
) -> None:
    await browser.post("/change", json={"cart": [1]})
    MEETING.of(2)
    answers = await asyncio.gather(browser.get("/login?user=ada"), browser.get("/login?user=bob"))
    found = [await kept(state, cookie_of(each).value) for each in answers]
    values = [each.value for each in found if each is not None]
    assert [each["user"] for each in values] == ["ada", "bob"]
    assert sorted(each.get("cart", []) for each in values) == [[], [1]]


async def test_a_logout_ends_the_session_and_the_cookie(browser: httpx.AsyncClient, state: State[Any]) -> None:
    session = cookie_of(await browser.post("/change", json={"user": "ada"})).value
    cookie = cookie_of(await browser.get("/logout"))
    assert cookie["max-age"] == "0"
    assert (cookie["path"], cookie["secure"], cookie["httponly"]) == ("/", True, True)
    assert await kept(state, session) is None
    assert not browser.cookies
    assert await shown(browser) == {}


async def test_what_is_put_after_the_end_is_another_session(browser: httpx.AsyncClient, state: State[Any]) -> None:
    old = cookie_of(await browser.post("/change", json={"user": "ada", "note": "bye"})).value
    new = cookie_of(await browser.get("/logout?note=bye")).value
    assert new != old
    assert await kept(state, old) is None
    assert await shown(browser) == {"note": "bye"}


async def test_a_request_that_comes_after_the_end_does_not_bring_the_session_back(
    browser: httpx.AsyncClient, state: State[Any]
) -> None:
    session = cookie_of(await browser.post("/change", json={"user": "ada"})).value
    MEETING.of(2)
    late = asyncio.ensure_future(browser.post("/change", json={"a": 1}))
    await MEETING.somebody_waits()
    await browser.get("/logout")
    await MEETING.wait()
    answer = await late
    assert answer.json() == {"user": "ada"}
    assert "set-cookie" not in answer.headers
    assert await kept(state, session) is None


async def test_a_request_that_fails_changes_nothing(browser: httpx.AsyncClient) -> None:
    await browser.post("/change", json={"a": 1})
    answer = await browser.get("/fail")
    assert answer.status_code == 500
    assert "set-cookie" not in answer.headers
    assert await shown(browser) == {"a": 1}


async def test_what_is_not_json_is_refused_by_name(one: View) -> None:
    app = application(Sessions(one.asynchronous, *PREFIX))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://shop") as browser:
        session = cookie_of(await browser.post("/change", json={"a": 1})).value
        with pytest.raises(TypeError, match="member 'when' cannot be JSON") as refused:
            await browser.get("/not_json")
        assert session not in str(refused.value)
        with pytest.raises(TypeError, match="named by a text, not by a int"):
            await one_call(app, {1: "a"})
        assert await shown(browser) == {"a": 1}


async def one_call(app: Starlette, members: dict[Any, Any]) -> None:
    async def put(request: Request) -> Response:
        request.session.update(members)
        return JSONResponse({})

    app.router.routes.append(Route("/one", put))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://shop") as browser:
        await browser.get("/one")


async def test_during_an_outage_nobody_is_taken_for_signed_out(store: str) -> None:
    async with Client("127.0.0.1:1", store=store, timeout=timedelta(milliseconds=300)) as nowhere:
        app = application(Sessions(nowhere, *PREFIX))
        async with httpx.AsyncClient(transport=Alternating(app), base_url="https://shop") as browser:
            answer = await browser.get("/show", headers={"cookie": f"session={'A' * 43}"})
            assert answer.status_code == 500
            assert "set-cookie" not in answer.headers
            begun = await browser.post("/change", json={"a": 1})
            assert begun.status_code == 500
            assert "set-cookie" not in begun.headers
            assert (await browser.get("/untouched")).status_code == 200


async def test_what_is_changed_while_and_after_the_response_is_sent_is_kept(browser: httpx.AsyncClient) -> None:
    nothing = await browser.get("/stream")
    assert nothing.status_code == 200
    assert "set-cookie" not in nothing.headers
    await browser.post("/change", json={"a": 1})
    await browser.get("/stream")
    assert await shown(browser) == {"a": 1, "streamed": 1, "after": 2}


async def test_what_ends_while_the_response_is_sent_leaves_no_session_that_nobody_has(
    browser: httpx.AsyncClient, state: State[Any], web: list[Starlette], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = cookie_of(await browser.post("/change", json={"a": 1})).value
    begun: list[Any] = []

    async def create(self: Sessions, data: Any) -> str:
        begun.append(data)
        return "A" * 43

    monkeypatch.setattr(Sessions, "create", create)
    await browser.get("/bye")
    assert await kept(state, session) is None
    assert begun == []


async def test_what_sets_the_cookie_is_kept_by_no_cache_that_others_share(browser: httpx.AsyncClient) -> None:
    for path in ("/login?user=ada", "/show", "/logout", "/past_the_request"):
        answer = await browser.get(path)
        assert cookie_of(answer).key == "session"
        assert (answer.headers["cache-control"], answer.headers["vary"]) == ("private", "Cookie")
    assert "cache-control" not in (await browser.get("/untouched")).headers
    assert (await browser.get("/public")).headers["cache-control"] == "max-age=60", "the application's own word"


async def test_a_websocket_has_the_session_and_may_begin_it(web: list[Starlette], state: State[Any]) -> None:
    async def connect(app: Starlette, cookie: str | None) -> list[Any]:
        headers = [] if cookie is None else [(b"cookie", f"session={cookie}".encode())]
        scope = {"type": "websocket", "path": "/talk", "headers": headers, "query_string": b"", "subprotocols": []}
        incoming: list[Any] = [
            {"type": "websocket.connect"},
            {"type": "websocket.receive", "text": "hello"},
            {"type": "websocket.disconnect", "code": 1001},
        ]
        sent: list[Any] = []

        async def receive() -> Any:
            return incoming.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        with pytest.raises(WebSocketDisconnect):
            await app(scope, receive, send)
        return sent

    (accepted,) = await connect(web[0], None)
    (text,) = (value.decode() for name, value in accepted["headers"] if name == b"set-cookie")
    (cookie,) = SimpleCookie(text).values()
    await connect(web[1], cookie.value)
    record = await kept(state, cookie.value)
    assert record is not None
    assert record.value == {"talks": 2, "heard": "hello"}


async def test_what_is_kept_is_plain_json(browser: httpx.AsyncClient, state: State[bytes]) -> None:
    session = cookie_of(await browser.post("/change", json={"user": "Åda", "n": [1.5, None]})).value
    record = await kept(state, session)
    assert record is not None
    assert record.content_type == "application/json"
    assert record.value == {"user": "Åda", "n": [1.5, None]}
