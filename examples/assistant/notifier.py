"""Hears of what users of the assistant have done, and keeps a feed of it: ``python -m examples.assistant.notifier``."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from examples.assistant.serving import Fields, Handler, name, serve
from keepstate import Client, State, Transaction
from keepstate.recipes import Once

FEED = "feed"
"""The key of the feed: a list of events, the newest at the end."""

LENGTH = 100

log = logging.getLogger("notifier")


class Notifier:
    """The method. It may be called in several instances at once, and again with the same event."""

    def __init__(self, state: State[Any]) -> None:
        self._once = Once(state)

    async def hear(self, event: Fields) -> Fields:
        """Take an event, a CloudEvent, into the feed. An event that was heard before changes nothing."""
        try:
            event_id, data = name(event, "id"), event.get("data")
        except ValueError as error:  # it will not be right when it comes again
            log.warning("dropped an event: %s", error)
            return {"status": "DROP"}

        async def keep(tx: Transaction[Any]) -> None:
            tx.append(FEED, [{"id": event_id, "data": data}], max_length=LENGTH)

        done = await self._once.run(event_id, keep)
        log.info("%s%s", data, " (heard before)" if done.repeated else "")
        return {"status": "SUCCESS"}  # after any error the sidecar sends it again


@asynccontextmanager
async def running() -> AsyncIterator[Mapping[str, Handler]]:
    """The method, and what it needs."""
    async with Client(os.environ.get("KEEPSTATE_ADDRESS", "localhost:7400"), namespace="notifier") as state:
        yield {"hear": Notifier(state).hear}


if __name__ == "__main__":
    serve(running)
