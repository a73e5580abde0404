"""How a record stands in the store: a protobuf message behind a magic number and a checksum.

A value that another program wrote is never mistaken for an envelope: it would need the magic number, a checksum that
fits, and a message that parses.
"""

import zlib
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from keepstate_server.domain.records import VERSION_BYTES, Version
from keepstate_server.domain.times import Instant
from keepstate_server.engine.trail import Answered, FirstAnswer, Trail, TrailEntry, WriteId, version_at, write_of
from keepstate_server.stored.v1 import envelope_pb2

__all__ = ["Envelope", "decode", "encode", "tombstone"]

# The first byte is in no UTF-8 text.
_MAGIC = b"\xf5KS\x01"
_HEAD = len(_MAGIC) + 4


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

    @property
    def last_write(self) -> WriteId:
        """The compare-and-set that stored this."""
        return self.trail.entries[0].write

    def lives(self, now: Instant) -> bool:
        """Says whether the record exists at ``now``."""
        return self.death_time is None and (self.expire_time is None or self.expire_time > now)


def encode(envelope: Envelope) -> bytes:
    """Returns the bytes to store."""
    message = envelope_pb2.Envelope(
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
    )
    body = message.SerializeToString()
    return b"".join((_MAGIC, zlib.crc32(body).to_bytes(4, "big"), body))


def decode(data: bytes) -> Envelope | None:
    """Returns the envelope in ``data``, or None if another program wrote it."""
    if not data.startswith(_MAGIC) or zlib.crc32(memoryview(data)[_HEAD:]) != int.from_bytes(data[len(_MAGIC) : _HEAD]):
        return None
    try:
        message = envelope_pb2.Envelope.FromString(data[_HEAD:])
    except DecodeError:
        return None
    if len(message.version) != VERSION_BYTES or not message.trail:
        return None
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
    )


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


def _instant(stored: int) -> Instant | None:
    return Instant(stored) if stored else None


def _entry_message(entry: TrailEntry, envelope: Envelope) -> envelope_pb2.TrailEntry:
    return envelope_pb2.TrailEntry(
        write=b"" if entry.write == write_of(envelope.version) else entry.write,
        age=envelope.write_time - entry.time,
        requests=[
            envelope_pb2.Requests(
                client=each.client,
                first=each.first,
                more=each.more,
                position=each.position,
                answer=envelope_pb2.Answer.ValueType(each.answer),
                keep_until=each.keep_until,
            )
            for each in entry.requests
        ],
    )


def _entry(message: envelope_pb2.TrailEntry, version: Version, write_time: int) -> TrailEntry:
    return TrailEntry(
        write=WriteId(message.write) if message.write else write_of(version),
        time=Instant(write_time - message.age),
        requests=tuple(
            Answered(
                client=each.client,
                first=each.first,
                more=each.more,
                position=each.position,
                answer=FirstAnswer(each.answer),
                keep_until=Instant(each.keep_until),
            )
            for each in message.requests
        ),
    )
