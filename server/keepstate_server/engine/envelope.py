"""How a record stands in the store: a protobuf message, sealed.

A record that takes part in a transaction carries an intent: what it becomes if the transaction commits. Until it is
known what became of the transaction, nobody may say what the record is.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple

from google.protobuf.message import DecodeError

from keepstate_server.domain.records import VERSION_BYTES, Version
from keepstate_server.domain.times import Instant
from keepstate_server.engine import frames
from keepstate_server.engine.trail import Answered, FirstAnswer, Trail, TrailEntry, WriteId, version_at, write_of
from keepstate_server.stored.v1 import envelope_pb2

__all__ = ["Decision", "Envelope", "Intent", "Location", "decode", "encode", "tombstone"]


class Location(NamedTuple):
    """Where a record is kept."""

    store: str
    """The Dapr state component."""
    key: str
    """The store's key."""


class Decision(Enum):
    """What became of a transaction."""

    COMMITTED = "committed"
    ABORTED = "aborted"


@dataclass(frozen=True, kw_only=True, slots=True)
class Intent:
    """What a record becomes if a transaction commits."""

    transaction: WriteId
    """Names the transaction: its outcome, and in the trail the write."""
    time: Instant
    """When the transaction was begun."""
    outcome_store: str
    isolated: bool
    """Whether all intents of the transaction were laid in one step, if any were."""
    records: tuple[Location, ...]
    """All records of the transaction."""
    becomes: "Envelope | None"
    """The record if it commits, without a trail. None: as it was before."""
    requests: tuple[Answered, ...] = ()
    """What the trail then notes of the transaction's request."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Envelope:
    """A record as it is stored, live or dead (a tombstone)."""

    version: Version
    value: bytes
    content_type: str
    create_time: Instant | None
    """None: the value was another program's."""
    update_time: Instant | None
    """None: the value was another program's."""
    expire_time: Instant | None
    death_time: Instant | None
    """None: it lives, unless it has expired."""
    write_time: Instant
    trail: Trail = field(default_factory=Trail)
    intent: Intent | None = None
    """If there is one, all else is the record as it was before."""
    journal: bytes = b""
    """Names the journal with the note by which the record will be collected. Empty: none."""

    @property
    def last_write(self) -> WriteId:
        """The compare-and-set that stored this."""
        return self.trail.entries[0].write

    def lives(self, now: Instant) -> bool:
        """Says whether the record exists at ``now``."""
        return self.death_time is None and (self.expire_time is None or self.expire_time > now)

    def settled(self, decision: Decision, now: Instant) -> "Envelope":
        """Returns the record as ``decision`` of its intent's transaction leaves it."""
        intent = self.intent
        assert intent is not None
        laid, *before = self.trail.entries
        if decision is Decision.COMMITTED and intent.becomes is not None:
            entries = (replace(laid, requests=intent.requests), *before)
            return replace(intent.becomes, trail=replace(self.trail, entries=entries), write_time=now)
        # Nothing was written: what laid the intent need not be remembered, unless there is nothing else.
        entries = tuple(before) or (laid,)
        return replace(self, trail=replace(self.trail, entries=entries), write_time=now, intent=None)


def encode(envelope: Envelope) -> bytes:
    """Returns the bytes to store."""
    return frames.sealed(frames.ENVELOPE, _message(envelope).SerializeToString())


def decode(data: bytes) -> Envelope | None:
    """Returns the envelope in ``data``, or None if another program wrote it."""
    body = frames.opened(frames.ENVELOPE, data)
    if body is None:
        return None
    try:
        message = envelope_pb2.Envelope.FromString(body)
    except DecodeError:
        return None
    return _envelope(message) if len(message.version) == VERSION_BYTES and message.trail else None


def tombstone(write: WriteId, now: Instant) -> bytes:
    """Returns a dead record that never lived, to be created where nothing stands."""
    return encode(
        Envelope(
            version=version_at(write, 0),
            value=b"",
            content_type="",
            create_time=None,
            update_time=None,
            expire_time=None,
            death_time=now,
            write_time=now,
            trail=Trail(entries=(TrailEntry(write=write, time=now),)),
        )
    )


def _message(envelope: Envelope) -> envelope_pb2.Envelope:
    return envelope_pb2.Envelope(
        version=envelope.version,
        value=envelope.value,
        content_type=envelope.content_type,
        create_time=envelope.create_time or 0,
        update_time=envelope.update_time or 0,
        expire_time=envelope.expire_time or 0,
        death_time=envelope.death_time or 0,
        write_time=envelope.write_time,
        trail=[_entry_message(entry, envelope) for entry in envelope.trail.entries],
        earlier_writes=envelope.trail.earlier,
        kept=[_entry_message(entry, envelope) for entry in envelope.trail.kept],
        forgotten_time=envelope.trail.forgotten,
        intent=_intent_message(envelope.intent) if envelope.intent else None,
        journal=envelope.journal,
    )


def _envelope(message: envelope_pb2.Envelope) -> Envelope:
    version = Version(message.version)
    return Envelope(
        version=version,
        value=message.value,
        content_type=message.content_type,
        create_time=_instant(message.create_time),
        update_time=_instant(message.update_time),
        expire_time=_instant(message.expire_time),
        death_time=_instant(message.death_time),
        write_time=Instant(message.write_time),
        trail=Trail(
            entries=tuple(_entry(entry, version, message.write_time) for entry in message.trail),
            earlier=message.earlier_writes,
            kept=tuple(_entry(entry, version, message.write_time) for entry in message.kept),
            forgotten=Instant(message.forgotten_time),
        ),
        intent=_intent(message.intent) if message.HasField("intent") else None,
        journal=message.journal,
    )


def _instant(stored: int) -> Instant | None:
    return Instant(stored) if stored else None


def _intent_message(intent: Intent) -> envelope_pb2.Intent:
    return envelope_pb2.Intent(
        transaction=intent.transaction,
        time=intent.time,
        outcome_store=intent.outcome_store,
        isolated=intent.isolated,
        records=[envelope_pb2.Location(store=each.store, key=each.key) for each in intent.records],
        becomes=_message(intent.becomes) if intent.becomes else None,
        requests=_requests_message(intent.requests),
    )


def _intent(message: envelope_pb2.Intent) -> Intent:
    return Intent(
        transaction=WriteId(message.transaction),
        time=Instant(message.time),
        outcome_store=message.outcome_store,
        isolated=message.isolated,
        records=tuple(Location(each.store, each.key) for each in message.records),
        becomes=_envelope(message.becomes) if message.HasField("becomes") else None,
        requests=_requests(message.requests),
    )


def _entry_message(entry: TrailEntry, envelope: Envelope) -> envelope_pb2.TrailEntry:
    return envelope_pb2.TrailEntry(
        write=b"" if entry.write == write_of(envelope.version) else entry.write,
        age=envelope.write_time - entry.time,
        requests=_requests_message(entry.requests),
    )


def _entry(message: envelope_pb2.TrailEntry, version: Version, write_time: int) -> TrailEntry:
    return TrailEntry(
        write=WriteId(message.write) if message.write else write_of(version),
        time=Instant(write_time - message.age),
        requests=_requests(message.requests),
    )


def _requests_message(requests: Iterable[Answered]) -> Sequence[envelope_pb2.Requests]:
    return [
        envelope_pb2.Requests(
            client=each.client,
            first=each.first,
            more=each.more,
            position=each.position,
            answer=envelope_pb2.Answer.ValueType(each.answer),
            keep_until=each.keep_until,
        )
        for each in requests
    ]


def _requests(messages: Iterable[envelope_pb2.Requests]) -> tuple[Answered, ...]:
    return tuple(
        Answered(
            client=each.client,
            first=each.first,
            more=each.more,
            position=each.position,
            answer=FirstAnswer(each.answer),
            keep_until=Instant(each.keep_until),
        )
        for each in messages
    )
