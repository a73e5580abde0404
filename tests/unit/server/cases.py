"""Names and short ways of saying things."""

from __future__ import annotations

from keepstate_server.domain.names import RecordName


def name(key: str = "k", *, store: str = "model", namespace: str = "") -> RecordName:
    return RecordName(store=store, namespace=namespace, key=key)
