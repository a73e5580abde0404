"""What stands in a store, for people who read a trace."""

from __future__ import annotations

from collections.abc import Mapping

from keepstate_server.engine.envelope import decode
from keepstate_server.stores.base import Stored
from keepstate_server.stores.sidecar import BulkItem
from tests.simulation.applied import decision_in

__all__ = ["described"]

_PROBE = b"\xf5probe"


def described(result: object) -> str:
    """Returns what a read showed."""
    match result:
        case Stored(data=data, etag=etag):
            return f"{_contents(data)}@{etag[:8]}"
        case Mapping():
            return str({key: described(each) for key, each in result.items()})
        case BulkItem(stored=stored, error=error):
            return error or described(stored)
        case None:
            return "nothing"
        case _:
            return str(result)


def _contents(data: bytes) -> str:
    envelope = decode(data)
    committed = decision_in(data)
    if committed is not None:
        return "committed" if committed else "aborted"
    if envelope is None:
        # The probe's value is of the system's randomness.
        return "a probe" if data.startswith(_PROBE) else repr(data)
    value = envelope.value.decode() if envelope.death_time is None else "dead"
    trail = envelope.trail
    entries = [
        f"{entry.write.hex()[:8]} {[(each.client, each.first, each.answer.name) for each in entry.requests]}"
        for entry in (*trail.entries, *trail.kept)
    ]
    if intent := envelope.intent:
        becomes = "" if intent.becomes is None else intent.becomes.value.decode() or "dead"
        value = f"{value} (intent of {intent.transaction.hex()[:8]} to become {becomes!r})"
    return f"{value} {envelope.version.hex()[:8]} expires {envelope.expire_time} {entries}"
