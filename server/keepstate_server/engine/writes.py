"""From an envelope to the compare-and-set that stores it."""

import random
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TypeVar

from keepstate_server.domain.records import Consistency
from keepstate_server.domain.times import Instant
from keepstate_server.engine.envelope import Envelope, encode
from keepstate_server.engine.settings import EngineSettings
from keepstate_server.engine.trail import WRITE_BYTES, WriteId
from keepstate_server.stores.base import CompareAndSet, StoreEtag

__all__ = ["CALL_BYTES", "MESSAGE_BYTES", "compare_and_set", "new_write", "physical_life", "pieces"]

_T = TypeVar("_T")

MESSAGE_BYTES = 15 * 1024 * 1024
"""Of records in one message: the largest is 16 MiB; keys and what surrounds them need a little."""

CALL_BYTES = 1024 * 1024
"""What one call of the sidecar writes at most: enough to share its cost, too little to hold others up."""


def new_write(source: random.Random) -> WriteId:
    """Returns an identifier that no other write has."""
    return WriteId(source.randbytes(WRITE_BYTES))


def physical_life(envelope: Envelope, now: Instant, settings: EngineSettings) -> timedelta | None:
    """Returns how long the store must keep ``envelope``: a dead record stays for its dead life. None: for ever."""
    if envelope.intent is not None:
        return None  # it may be a committed transaction's
    if envelope.death_time is not None:
        return settings.dead_life
    if envelope.expire_time is None:
        return None
    return timedelta(milliseconds=max(envelope.expire_time - now, 0)) + settings.dead_life


def compare_and_set(
    key: str,
    etag: StoreEtag | None,
    envelope: Envelope,
    now: Instant,
    settings: EngineSettings,
    consistency: Consistency = Consistency.STRONG,
    *,
    alone: bool = False,
) -> CompareAndSet:
    """Returns what stores ``envelope`` under ``key`` if ``etag`` still stands there."""
    return CompareAndSet(
        key=key,
        etag=etag,
        data=encode(envelope),
        keep_for=physical_life(envelope, now, settings),
        consistency=consistency,
        alone=alone,
    )


def pieces(writes: Sequence[tuple[_T, CompareAndSet]]) -> Iterator[Sequence[tuple[_T, CompareAndSet]]]:
    """Yields ``writes``, each with whatever it belongs to, in order and in pieces that one call carries."""
    piece: list[tuple[_T, CompareAndSet]] = []
    size = 0
    for owner, write in writes:
        if piece and size + len(write.data) > CALL_BYTES:
            yield piece
            piece, size = [], 0
        piece.append((owner, write))
        size += len(write.data)
    if piece:
        yield piece
