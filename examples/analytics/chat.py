"""Greets users with how much they wrote, which analytics knows: ``python -m examples.analytics.chat``."""

from __future__ import annotations

import json
import logging

from aiohttp import ClientError
from dapr.clients import DaprClient
from dapr.clients.exceptions import DaprInternalError

from examples.analytics.invocation import Fields, serve, text

PATIENCE = 2
"""How long analytics may take, in seconds. A greeting is not worth more."""

log = logging.getLogger("chat")


class Chat:
    """The method."""

    def __init__(self, dapr: DaprClient) -> None:
        self._dapr = dapr

    def hello(self, fields: Fields) -> Fields:
        """Greet a user; with a count of 0 where analytics is away, and said so."""
        user = text(fields, "user")
        try:
            count = self._count(user)
        except (DaprInternalError, ClientError, TimeoutError) as error:
            log.warning("analytics is away: %s", type(error).__name__)
            return {"text": f"Hello {user}", "count": 0, "analytics": "away"}
        return {"text": f"Hello {user}", "count": count, "analytics": "here"}

    def _count(self, user: str) -> int:
        """Ask analytics, through this app's sidecar and its. Who is not found has written nothing."""
        answer = self._dapr.invoke_method(
            "analytics", "count", json.dumps({"user": user}), http_verb="POST", timeout=PATIENCE
        )
        count: int = json.loads(answer.data).get("count", 0)
        return count


def main() -> None:
    """Serve until told to stop."""
    logging.basicConfig()
    with DaprClient() as dapr:
        serve({"hello": Chat(dapr).hello})


if __name__ == "__main__":
    main()
