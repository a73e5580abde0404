"""Sessions of Starlette and FastAPI, kept in Keepstate. Needs the extra ``starlette``."""

from __future__ import annotations

__all__ = ["SessionMiddleware", "rotate"]

import math
import re
from collections.abc import Mapping
from http.cookies import Morsel
from typing import Any, Literal

from keepstate import Json
from keepstate.adapters import missing
from keepstate.recipes import Sessions

try:
    from starlette.datastructures import MutableHeaders
    from starlette.requests import HTTPConnection
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
    from starlette.websockets import WebSocketDisconnect
except ModuleNotFoundError as error:
    raise missing("starlette", error) from None

_ID = re.compile(r"[A-Za-z0-9_-]{43}")  # as Sessions makes them; anything else need not be asked for
_BEGINS = ("http.response.start", "websocket.accept", "websocket.http.response.start")
_JSON = Json()


class SessionMiddleware:
    """Keeps what is in ``request.session`` at the service; the browser has a cookie with the session's id alone.

    ::

        sessions = Sessions(state, "session", "web", ttl=timedelta(days=14))
        app = Starlette(routes=…, middleware=[Middleware(SessionMiddleware, sessions=sessions)])

    A session begins with the first thing that is put into it, and lives until no request has come for its ttl.
    ``request.session.clear()`` ends it, for a logout; what is put after that begins another. ``rotate(request)`` gives
    it a new id, for a login.

    What a request has changed, also deep inside, is kept when its response begins, member by member: requests of one
    session at the same time keep each other's changes, and of one member the last. What is changed after that is kept
    when the application is done, in a session that there is. A request that fails before its response begins changes
    nothing; one whose session has ended meanwhile does not bring it back.

    A response that sets the cookie is ``Cache-Control: private`` unless the application says otherwise, and one that
    depends on the session is ``Vary: Cookie``.

    A request raises what the calls of ``keepstate.State`` raise, and TypeError for a member that is not JSON.
    """

    def __init__(
        self,
        app: ASGIApp,
        sessions: Sessions,
        *,
        cookie: str = "session",
        path: str = "/",
        domain: str | None = None,
        secure: bool = True,
        same_site: Literal["lax", "strict", "none"] = "lax",
    ) -> None:
        """Go around an application.

        Args:
            app: the application.
            sessions: keeps the sessions, and says for how long; the cookie lives as long.
            cookie: its name. A name that begins with ``__Host-`` is one that no other host can set.
            path: the cookie is sent for this path and what is below.
            domain: the cookie is sent to this domain's hosts. None: to the host that has set it.
            secure: it is sent over HTTPS alone.
            same_site: whether it comes with requests that other sites begin: "lax": with links alone.

        Raises:
            ValueError: browsers would not take such a cookie.
        """
        reserved: bool = Morsel().isReservedKey(cookie)
        if reserved or not re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", cookie, re.ASCII):
            raise ValueError(f"the name of the cookie is none: {cookie!r}")
        if not re.fullmatch(r"/[!-:<-~]*", path):
            raise ValueError(f"the path of a cookie must begin with / and be ASCII without spaces and ;, not {path!r}")
        if domain is not None and not re.fullmatch(r"[\w.-]+", domain, re.ASCII):
            raise ValueError(f"the domain of a cookie must be a host's name, not {domain!r}")
        prefixed = cookie.lower()  # browsers know the prefixes in any case
        if same_site not in ("lax", "strict", "none"):
            raise ValueError(f"same_site must be lax, strict or none, not {same_site!r}")
        if not secure and (same_site == "none" or prefixed.startswith(("__host-", "__secure-"))):
            raise ValueError(f"the cookie {cookie!r} with same_site {same_site!r} must be secure")
        if prefixed.startswith("__host-") and (path != "/" or domain is not None):
            raise ValueError(f"the cookie {cookie!r} must have the path / and no domain")
        self._app = app
        self._sessions = sessions
        self._cookie = cookie
        self._attributes: dict[str, Any] = {
            "path": path,
            "domain": domain,
            "secure": secure,
            "httponly": True,
            "samesite": same_site,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        kept = await self._find(HTTPConnection(scope).cookies.get(self._cookie, ""))
        session = scope["session"] = kept.session

        async def send_and_keep(message: Message) -> None:
            if message["type"] in _BEGINS and not session.begun:
                await self._begin(kept, message)
            await send(message)

        try:
            await self._app(scope, receive, send_and_keep)
        except WebSocketDisconnect:  # how a connection ends whose browser has gone
            await kept.keep_rest()
            raise
        await kept.keep_rest()

    async def _find(self, session_id: str) -> _Kept:
        data = await self._sessions.get(session_id) if _ID.fullmatch(session_id) else None
        return _Kept(self._sessions, None if data is None else session_id, data or {})

    async def _begin(self, kept: _Kept, message: Message) -> None:
        """Keep what has changed, and tell the browser, with the beginning of a response."""
        session = kept.session
        before, ended = kept.session_id, session.ended
        await kept.keep()
        session.begun = True
        message.setdefault("headers", [])
        headers = MutableHeaders(scope=message)
        cookie = None
        if kept.session_id is not None and (session.accessed or kept.session_id != before):
            cookie = self._remember(kept.session_id)
        elif ended:
            cookie = self._forget()
        # A session that is not there any more is no reason to forget the cookie: another request may have just rotated
        # the id, and the browser would lose the new one.
        if session.accessed or cookie is not None:
            headers.add_vary_header("Cookie")
        if cookie is not None:
            headers.append("set-cookie", cookie)
            # A visitor without a cookie could be given another's, with what a cache kept for such visitors.
            headers.setdefault("cache-control", "private")

    def _remember(self, session_id: str) -> str:
        response = Response()
        seconds = math.ceil(self._sessions.ttl.total_seconds())
        response.set_cookie(self._cookie, session_id, max_age=seconds, **self._attributes)
        return response.headers["set-cookie"]

    def _forget(self) -> str:
        response = Response()
        response.delete_cookie(self._cookie, **self._attributes)
        return response.headers["set-cookie"]


def rotate(connection: HTTPConnection) -> None:
    """Give a connection's session a new id when its response begins. The old id is no session any more.

    Call it at a login: who had a visitor take an id that he knows does not get what is the user's.

    Raises:
        RuntimeError: the response has begun.
        TypeError: the session is kept by another middleware.
    """
    session = connection.session
    if not isinstance(session, _Session):
        raise TypeError("the session is not kept by keepstate.adapters.starlette")
    if session.begun:
        raise RuntimeError("the response has begun: its cookie cannot be changed any more")
    session.rotated = True


class _Session(dict[str, Any]):
    """What a connection sees of its session, and what it asks for besides changes of the data."""

    accessed = False
    begun = False
    ended = False
    rotated = False

    def mark_accessed(self) -> None:
        """Starlette calls it where ``session`` of a connection is asked for."""
        self.accessed = True

    def clear(self) -> None:
        self.ended = True
        super().clear()


class _Kept:
    """One connection's session as it is kept."""

    def __init__(self, sessions: Sessions, session_id: str | None, data: Mapping[str, Any]) -> None:
        self.session_id = session_id
        self.session = _Session(data)
        self._sessions = sessions
        self._texts = _texts(data)

    async def keep(self) -> None:
        """Keep what the session has changed since it was read or last kept."""
        texts = _texts(self.session)
        if self.session.ended and self.session_id is not None:
            await self._sessions.end(self.session_id)
            self.session_id, self._texts = None, {}
        changes = {name: self.session[name] for name, text in texts.items() if self._texts.get(name) != text}
        removed = self._texts.keys() - texts.keys()
        if self.session_id is None:
            self.session_id = await self._created(changes)
        elif self.session.rotated:
            # Where it has ended meanwhile, the login is a session of its own, without what this request has read.
            new_id = await self._sessions.rotate(self.session_id, changes, remove=removed)
            self.session_id = new_id or await self._created(changes)
        elif (changes or removed) and await self._sessions.update(self.session_id, changes, remove=removed) is None:
            self.session_id = None
        self._texts = texts
        self.session.ended = self.session.rotated = False

    async def keep_rest(self) -> None:
        """Keep what has changed since the response began, in a session that there is."""
        if self.session.begun and self.session_id is not None:
            await self.keep()

    async def _created(self, data: Mapping[str, Any]) -> str | None:
        if not data or self.session.begun:  # no cookie can tell its id any more
            return None
        return await self._sessions.create(data)


def _texts(data: Mapping[str, Any]) -> dict[str, bytes]:
    return {name: _text(name, value) for name, value in data.items()}


def _text(name: object, value: object) -> bytes:
    if not isinstance(name, str):
        raise TypeError(f"a member of a session is named by a text, not by a {type(name).__name__}")
    try:
        return _JSON.encode(value)
    except (TypeError, ValueError, RecursionError):
        raise TypeError(f"the session's member {name!r} cannot be JSON") from None
