"""What stands in a store when all is over, and should have been collected."""

from __future__ import annotations

from collections.abc import Iterator

from keepstate_server.domain.names import internal_key
from keepstate_server.engine import frames
from keepstate_server.engine.envelope import decode
from keepstate_server.stored.v1 import envelope_pb2
from tests.simulation.applied import decision_in
from tests.simulation.stores import SimStore

__all__ = ["left_over"]

_OWN = internal_key("")
_JOURNAL = internal_key("journal/")
_DIRECTORY = internal_key("journals")


def left_over(store: SimStore, *, cut_off: bool) -> Iterator[str]:
    """Yields what nobody will ever collect. ``cut_off``: an instance ended, or could not end, what it was doing.

    That may leave a journal which is not listed yet, and the outcome of a transaction.
    """
    listed = set(_listed(store))
    for key in list(store.items):
        stored = store.read(key)
        if stored is None:
            continue
        if key.startswith(_JOURNAL):
            name = bytes.fromhex(key.removeprefix(_JOURNAL))
            yield from _journal(key, stored.data, unlisted=cut_off and name not in listed)
        elif key.startswith(_OWN):
            if decision_in(stored.data) and store.items[key].gone_at is None and not cut_off:
                yield f"left over: {store.name} {key}, committed"
        elif (envelope := decode(stored.data)) is not None:
            if envelope.intent is not None:
                # Where the record neither is nor becomes one that dies, the next reader finds the intent.
                if envelope.journal:
                    yield f"left over: {store.name} {key}, with an intent"
            elif not envelope.lives(store.clock.now()):
                yield f"left over: {store.name} {key}, dead"
    yield from (f"left over: {store.name} lists {name.hex()}" for name in listed)


def _listed(store: SimStore) -> Iterator[bytes]:
    stored = store.read(_DIRECTORY)
    if stored is not None:
        body = frames.opened(frames.DIRECTORY, stored.data)
        assert body is not None
        yield from envelope_pb2.Directory.FromString(body).journals


def _journal(key: str, data: bytes, *, unlisted: bool) -> Iterator[str]:
    body = frames.opened(frames.JOURNAL, data)
    assert body is not None
    journal = envelope_pb2.Journal.FromString(body)
    if not journal.closed and not unlisted:
        yield f"left over: {key} with {len(journal.notes)} notes"
