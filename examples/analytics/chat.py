"""Greets users with how much they wrote, which analytics knows: ``python -m examples.analytics.chat``."""

from __future__ import annotations

import json
import logging
import os
from http.client import HTTPException
from urllib.request import ProxyHandler, Request, build_opener

from examples.analytics.invocation import Fields, serve, text

PATIENCE = 2.0
"""How long analytics may take, in seconds. A greeting is not worth more."""

log = logging.getLogger("chat")


class Chat:
    """The method.

    It calls the sidecar's HTTP API itself: the SDK's ``invoke_method`` of 1.18 makes an event loop for each call, and
    leaves it to the garbage collector.
    """

    def __init__(self, sidecar: str, token: str = "") -> None:
        """Make it, with the address of the app's own sidecar and the token that this may ask for."""
        self._count_url = f"http://{sidecar}/v1.0/invoke/analytics/method/count"
        self._headers = {"Content-Type": "application/json"} | ({"dapr-api-token": token} if token else {})
        self._http = build_opener(ProxyHandler({}))  # the sidecar is never behind a proxy

    def hello(self, fields: Fields) -> Fields:
        """Greet a user; with a count of 0 where analytics is away, and said so."""
        user = text(fields, "user")
        try:
            count = self._count(user)
        except (OSError, HTTPException) as error:
            log.warning("analytics is away: %s", error)
            return {"text": f"Hello {user}", "count": 0, "analytics": "away"}
        return {"text": f"Hello {user}", "count": count, "analytics": "here"}

    def _count(self, user: str) -> int:
        """Ask analytics, through this app's sidecar and its. Who is not found has written nothing."""
        request = Request(self._count_url, json.dumps({"user": user}).encode(), self._headers)  # noqa: S310
        with self._http.open(request, timeout=PATIENCE) as answer:
            count: int = json.load(answer).get("count", 0)
        return count


def main() -> None:
    """Serve until told to stop."""
    logging.basicConfig()
    host, port = os.environ.get("DAPR_RUNTIME_HOST", "127.0.0.1"), os.environ.get("DAPR_HTTP_PORT", "3500")
    serve({"hello": Chat(f"{host}:{port}", os.environ.get("DAPR_API_TOKEN", "")).hello})


if __name__ == "__main__":
    main()
