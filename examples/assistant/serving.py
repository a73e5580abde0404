"""What both programs share: to answer calls with JSON, where Dapr expects an app to listen."""

from __future__ import annotations

__all__ = ["Fields", "Handler", "name", "serve", "text"]

import json
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from http import HTTPStatus
from typing import Any, TypeAlias

from aiohttp import web

from keepstate import KeepstateError

Fields: TypeAlias = Mapping[str, Any]
Handler: TypeAlias = Callable[[Fields], Awaitable[Fields]]
"""Takes the members of a JSON object and answers with others. A ValueError says what is wrong with those it got."""

LONGEST_NAME = 50
LONGEST_TEXT = 1000

log = logging.getLogger("assistant")


def serve(running: Callable[[], AbstractAsyncContextManager[Mapping[str, Handler]]]) -> None:
    """Answer a POST to each method's name, until SIGTERM or SIGINT; what is under way then is finished.

    That is at APP_PORT, and on APP_CHANNEL_ADDRESS or else loopback: ``dapr run`` sets both, the second perhaps empty.

    Args:
        running: what the methods need while they are served.
    """

    async def start() -> web.Application:
        stack = AsyncExitStack()
        app = web.Application()
        for method, handler in (await stack.enter_async_context(running())).items():
            app.router.add_post(f"/{method}", _answering(handler))

        async def end(_: web.Application) -> None:
            await stack.aclose()

        app.on_cleanup.append(end)
        return app

    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    web.run_app(
        start(),
        host=os.environ.get("APP_CHANNEL_ADDRESS") or "127.0.0.1",
        port=int(os.environ.get("APP_PORT", "6001")),
        shutdown_timeout=5,
        access_log=None,
        print=None,
    )


def name(fields: Fields, field: str) -> str:
    """The field's text, which names something.

    Raises:
        ValueError: it is no text of 1 to 50 printable characters.
    """
    return _text(fields, field, LONGEST_NAME)


def text(fields: Fields, field: str) -> str:
    """The field's text.

    Raises:
        ValueError: it is no text of 1 to 1000 printable characters.
    """
    return _text(fields, field, LONGEST_TEXT)


def _text(fields: Fields, field: str, longest: int) -> str:
    value = fields.get(field)
    if not isinstance(value, str) or not 0 < len(value) <= longest or not value.isprintable():
        raise ValueError(f"{field} must be a text of 1 to {longest} printable characters")
    return value


def _answering(handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        try:
            return web.json_response(await handler(_object(await request.read())))
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=HTTPStatus.BAD_REQUEST)
        except KeepstateError as error:
            log.warning("%s %s", request.path, error)
            return web.json_response({"error": "not now"}, status=HTTPStatus.SERVICE_UNAVAILABLE)

    return answer


def _object(data: bytes) -> Fields:
    fields = json.loads(data)
    if not isinstance(fields, dict):
        raise ValueError("the request must be a JSON object")  # noqa: TRY004 - one of the errors that are answered
    return fields
