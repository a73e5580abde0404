"""What both services share: to answer Dapr's service invocation with JSON."""

from __future__ import annotations

__all__ = ["Fields", "Handler", "serve", "text"]

import json
import os
import signal
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

from dapr.ext.grpc import App, InvokeMethodRequest

Fields: TypeAlias = Mapping[str, Any]
Handler: TypeAlias = Callable[[Fields], Fields]
"""Takes the members of a JSON object and answers with others. A ValueError says what is wrong with those it got."""


def serve(methods: Mapping[str, Handler]) -> None:
    """Answer the methods where Dapr expects the app, until SIGTERM or SIGINT.

    That is at APP_PORT, and on APP_CHANNEL_ADDRESS or else loopback: ``dapr run`` sets both, the second perhaps empty.
    """
    # Not the SDK's own options: by default gRPC would share the port with another process that has it already.
    app = App(thread_pool=ThreadPoolExecutor(max_workers=10), options=[("grpc.so_reuseport", 0)])
    for name, handler in methods.items():
        app.method(name)(_answering(handler))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: app.stop())
    app.run(int(os.environ["APP_PORT"]), os.environ.get("APP_CHANNEL_ADDRESS") or "127.0.0.1")


def text(fields: Fields, name: str) -> str:
    """The field's text.

    Raises:
        ValueError: it is missing, empty or no text.
    """
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} must be a text that is not empty")
    return value


def _answering(handler: Handler) -> Callable[[InvokeMethodRequest], str]:
    def answer(request: InvokeMethodRequest) -> str:
        try:
            return json.dumps(handler(_object(request.data)))
        except ValueError as error:
            return json.dumps({"error": str(error)})

    return answer


def _object(data: bytes) -> Fields:
    fields = json.loads(data or b"{}")
    if not isinstance(fields, dict):
        raise ValueError("the request must be a JSON object")  # noqa: TRY004 - one of the errors that are answered
    return fields
