"""How a record stands in the store: a protobuf message, sealed.

A record that takes part in a transaction carries an intent: what it becomes if the transaction commits. Until it is
known what became of the transaction, nobody may say what the record is.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field, replace
from enum import Enum
from typing import NamedTuple, overload

from google.protobuf.message import DecodeError

from keepstate_server.domain.records import VERSION_BYTES, Version
from keepstate_server.domain.times import Instant
from keepstate_server.domain.values import frozen
from keepstate_server.engine import frames
from keepstate_server.engine.trail import (
    WRITE_BYTES,
    Answered,
    FirstAnswer,
    Trail,
    TrailEntry,
    WriteId,
    version_at,
    write_of,
)
from keepstate_server.stored.v1 import envelope_pb2

__all__ = ["Decision", "Envelope", "Intent", "Location", "decode", "encode", "tombstone"]

# Of a value that a hint may hold on to.
_SMALL_VALUE = 512

_ANSWERS = tuple(FirstAnswer)  # each at its number


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


@frozen
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


@frozen
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

    def header(self) -> "Envelope":
        """Returns this without the value, and without what may hold more than a little of it."""
        return Envelope(
            version=self.version,
            value=b"",
            content_type=self.content_type,
            create_time=self.create_time,
            update_time=self.update_time,
            expire_time=self.expire_time,
            death_time=self.death_time,
            write_time=self.write_time,
            trail=self.trail if len(self.value) <= _SMALL_VALUE else self.trail.in_memory(),
            intent=self.intent,
            journal=self.journal,
        )

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
    return frames.sealed(frames.ENVELOPE, _message(envelope).SerializeToString() + _packed_entries(envelope))


def decode(data: bytes) -> Envelope | None:
    """Returns the envelope in ``data``, or None if another program wrote it."""
    body = frames.opened(frames.ENVELOPE, data)
    if body is None:
        return None
    try:
        message = envelope_pb2.Envelope.FromString(body)
    except DecodeError:
        return None
    if len(message.version) != VERSION_BYTES or not message.trail:
        return None
    return _envelope(message, _StoredEntries(body))


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
    """Returns the message, without the trail's entries."""
    return envelope_pb2.Envelope(
        version=envelope.version,
        value=envelope.value,
        content_type=envelope.content_type,
        create_time=envelope.create_time or 0,
        update_time=envelope.update_time or 0,
        expire_time=envelope.expire_time or 0,
        death_time=envelope.death_time or 0,
        write_time=envelope.write_time,
        earlier_writes=envelope.trail.earlier,
        kept=[_entry_message(entry, envelope) for entry in envelope.trail.kept],
        forgotten_time=envelope.trail.forgotten,
        intent=_intent_message(envelope.intent) if envelope.intent else None,
        journal=envelope.journal,
    )


def _envelope(message: envelope_pb2.Envelope, entries: Sequence[TrailEntry] = ()) -> Envelope:
    version, kept = Version(message.version), message.kept
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
            entries=entries,
            earlier=message.earlier_writes,
            kept=_entries(kept, version, message.write_time) if kept else (),
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


def _packed_entries(envelope: Envelope) -> bytes:
    """Returns the trail's entries as protobuf encodes them.

    By hand: with every write all of them are stored again, and of most nothing is new but the age.
    """
    made, write_time = write_of(envelope.version), envelope.write_time
    entries = []
    for entry in envelope.trail.entries:
        packed = entry.packed
        if packed is None:
            message = envelope_pb2.TrailEntry(requests=_requests_message(entry.requests))
            packed = entry.packed = _WRITE + entry.write + message.SerializeToString()
        if entry.write == made:
            packed = packed[_WRITE_END:]
        if age := write_time - entry.time:
            packed += _AGE + _varint(2 * age if age > 0 else -2 * age - 1)
        entries.append(_TRAIL + _varint(len(packed)) + packed)
    return b"".join(entries)


def _varint(number: int) -> bytes:
    if number < 1 << 7:
        return _BYTES[number]
    if number < 1 << 14:
        return (number & 0x7F | (number & 0x3F80) << 1 | 0x80).to_bytes(2, "little")
    if number < 1 << 21:  # the age of an entry that is seconds or minutes old
        return (number & 0x7F | (number & 0x3F80) << 1 | (number & 0x1FC000) << 2 | 0x8080).to_bytes(3, "little")
    return _BYTES[number & 0x7F | 0x80] + _varint(number >> 7)


_BYTES = [bytes((number,)) for number in range(1 << 8)]


def _tag(field_number: int, wire_type: int) -> bytes:
    return _BYTES[field_number << 3 | wire_type]


_TRAIL = _tag(envelope_pb2.Envelope.TRAIL_FIELD_NUMBER, 2)
_WRITE = _tag(envelope_pb2.TrailEntry.WRITE_FIELD_NUMBER, 2) + _BYTES[WRITE_BYTES]
_WRITE_END = len(_WRITE) + WRITE_BYTES
_AGE = _tag(envelope_pb2.TrailEntry.AGE_FIELD_NUMBER, 0)


class _StoredEntries(Sequence[TrailEntry]):
    """A trail's entries, taken from the stored message when they are first looked at: a get never does."""

    __slots__ = ("_body", "_taken")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._taken: tuple[TrailEntry, ...] | None = None

    @property
    def _all(self) -> tuple[TrailEntry, ...]:
        if self._taken is None:
            message = envelope_pb2.Envelope.FromString(self._body)
            self._taken = _entries(message.trail, Version(message.version), message.write_time)
            self._body = b""
        return self._taken

    @overload
    def __getitem__(self, index: int) -> TrailEntry: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[TrailEntry, ...]: ...
    def __getitem__(self, index: int | slice) -> TrailEntry | tuple[TrailEntry, ...]:
        return self._all[index]

    def __iter__(self) -> Iterator[TrailEntry]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def __eq__(self, other: object) -> bool:
        return self._all == (other._all if isinstance(other, _StoredEntries) else other)

    def __hash__(self) -> int:
        return hash(self._all)


def _entries(messages: Iterable[envelope_pb2.TrailEntry], version: Version, write_time: int) -> tuple[TrailEntry, ...]:
    """Returns entries; of their messages the age is gone then."""
    made = write_of(version)
    entries = []
    for message in messages:
        write = WriteId(message.write)
        entry = TrailEntry(
            write=write or made, time=Instant(write_time - message.age), requests=_requests(message.requests)
        )
        message.ClearField("age")
        packed = message.SerializeToString()
        entry.packed = packed if write else _WRITE + made + packed
        entries.append(entry)
    return tuple(entries)


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
        [
            Answered(
                client=each.client,
                first=each.first,
                more=each.more,
                position=each.position,
                answer=_ANSWERS[each.answer],
                keep_until=Instant(each.keep_until),
            )
            for each in messages
        ]
    )
