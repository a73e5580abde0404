"""Counts the messages of each user, in records of Keepstate: ``python -m examples.analytics.analytics``."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import timedelta
from typing import Any

from examples.analytics.invocation import Fields, serve, text
from keepstate import AlreadyExists, key
from keepstate.sync import Client, State, Transaction

REMEMBERED = timedelta(days=1)
"""How long a message is known by its id, so that it counts once however often it is delivered."""


class Analytics:
    """The methods. They may be called in several threads, and in several instances of the program."""

    def __init__(self, state: State[Any]) -> None:
        self._state = state

    def initialise(self, _: Fields) -> Fields:
        """Start with counts for two users, unless they have some."""
        for user, count in {"alice": 5, "bob": 3}.items():
            with suppress(AlreadyExists):
                self._state.put(key("count", user), count, if_absent=True)
        return {"initialised": True}

    def count(self, fields: Fields) -> Fields:
        """Tell how many messages a user has written."""
        user = text(fields, "user")
        count = self._state.get(key("count", user))
        return {"user": user, "error": "not found"} if count is None else {"user": user, "count": count}

    def record(self, fields: Fields) -> Fields:
        """Count a message of a user, once for each id, and tell how many there are."""
        user, message = text(fields, "user"), text(fields, "id")
        delivered, counted = key("message", user, message), key("count", user)

        def write(tx: Transaction[Any]) -> None:
            tx.put(delivered, {}, if_absent=True, ttl=REMEMBERED)
            tx.increment(counted)

        with suppress(AlreadyExists):  # it was delivered before, and counted
            self._state.transaction(write)
        return {"user": user, "count": self._state.get(counted)}


def main() -> None:
    """Serve until told to stop."""
    with Client(os.environ.get("KEEPSTATE_ADDRESS", "localhost:7400"), namespace="analytics") as state:
        analytics = Analytics(state)
        serve({"initialise": analytics.initialise, "count": analytics.count, "record": analytics.record})


if __name__ == "__main__":
    main()
