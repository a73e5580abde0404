from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstate_server.domain.operations import Delete, Put
from keepstate_server.domain.records import VERSION_BYTES, Request, Version
from keepstate_server.domain.times import Instant
from keepstate_server.engine.draft import Draft
from keepstate_server.engine.envelope import Envelope, decode, encode, tombstone
from keepstate_server.engine.sighting import NOTHING, Raw, Sighting, seen
from keepstate_server.engine.trail import (
    SHORT_BYTES,
    WRITE_BYTES,
    Answered,
    FirstAnswer,
    Trail,
    TrailEntry,
    WriteId,
    version_at,
    write_of,
)
from keepstate_server.engine.writes import new_write, physical_life
from keepstate_server.stores.base import Absence, Stored, StoreEtag
from tests.unit.server.cases import name
from tests.unit.server.hand import MINUTE, SECOND, SETTINGS, START, HandClock, Requests, again, chance

instants = st.integers(1, 2**45).map(Instant)
writes = st.binary(min_size=WRITE_BYTES, max_size=WRITE_BYTES).map(WriteId)
versions = st.binary(min_size=VERSION_BYTES, max_size=VERSION_BYTES).map(Version)
notes = st.builds(
    Answered,
    client=st.integers(1, 2**64 - 1),
    first=st.integers(1, 2**64 - 1),
    more=st.integers(0, 2**32 - 1),
    position=st.integers(0, 999),
    answer=st.sampled_from(FirstAnswer),
    keep_until=st.just(Instant(0)) | instants,
)
entries = st.builds(TrailEntry, write=writes, time=instants, requests=st.lists(notes, max_size=3).map(tuple))


def trails(present: st.SearchStrategy[TrailEntry]) -> st.SearchStrategy[Trail]:
    return st.builds(
        Trail,
        entries=st.tuples(present, st.lists(entries, max_size=4)).map(lambda found: (found[0], *found[1])),
        earlier=st.integers(0, 4).flatmap(lambda n: st.binary(min_size=n * SHORT_BYTES, max_size=n * SHORT_BYTES)),
        kept=st.lists(entries, max_size=2).map(tuple),
        forgotten=st.just(Instant(0)) | instants,
    )


@st.composite
def envelopes(draw: st.DrawFn) -> Envelope:
    version = draw(versions)
    # As a rule the newest write made the version; after a touch it did not.
    newest = draw(entries | entries.map(lambda entry: replace(entry, write=write_of(version))))
    moment = st.none() | instants
    return Envelope(
        version=version,
        value=draw(st.binary(max_size=40)),
        content_type=draw(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=10)),
        create_time=draw(moment),
        update_time=draw(moment),
        expire_time=draw(moment),
        death_time=draw(moment),
        write_time=draw(instants),
        trail=draw(trails(st.just(newest))),
    )


@given(envelopes())
def test_an_envelope_comes_back_as_it_was_stored(envelope: Envelope) -> None:
    assert decode(encode(envelope)) == envelope


@given(st.binary(max_size=200))
def test_other_programs_bytes_are_never_taken_for_an_envelope(data: bytes) -> None:
    assert decode(data) is None


# What some other program may well have written, and what damage or bad luck makes of an envelope.
GOOD = encode(
    Envelope(
        version=version_at(WriteId(b"w" * 14), 0),
        value=b"value",
        content_type="",
        create_time=START,
        update_time=START,
        expire_time=None,
        death_time=None,
        write_time=START,
        trail=Trail(entries=(TrailEntry(write=WriteId(b"w" * 14), time=START),)),
    )
)


def framed(body: bytes) -> bytes:
    return GOOD[:4] + zlib.crc32(body).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'{"name": "Ada"}',
        b"plain text",
        b"\0",
        GOOD[:1],
        GOOD[:4],
        GOOD[:8],
        GOOD[:-1],
        GOOD + b"\0",
        b" " + GOOD,
        GOOD[1:],
        GOOD[:3] + b"\x02" + GOOD[4:],  # another version of the format
        GOOD[:4] + bytes(4) + GOOD[8:],
        framed(b""),
        framed(b"\xff\xff\xff\xff"),  # no message, with a checksum that fits
        framed(b"\x0a\x03abc"),  # a version that is too short
        framed(b"\x0a\x10" + b"v" * 16),  # no write
    ],
)
def test_what_is_not_a_whole_envelope_is_another_programs_value(data: bytes) -> None:
    assert decode(data) is None
    sighting = seen(Stored(data=data, etag=StoreEtag("1")))
    assert isinstance(sighting.content, Raw)
    assert sighting.content.value == data


@given(st.integers(0, len(GOOD) * 8 - 1))
def test_one_flipped_bit_is_noticed(bit: int) -> None:
    damaged = bytearray(GOOD)
    damaged[bit // 8] ^= 1 << bit % 8
    assert decode(bytes(damaged)) is None


def test_no_utf8_text_begins_like_an_envelope() -> None:
    with pytest.raises(UnicodeDecodeError):
        GOOD[:1].decode()


def test_a_value_that_looks_like_an_envelope_is_kept_as_a_value() -> None:
    outer = decode(written(GOOD))
    assert outer is not None
    assert outer.value == GOOD


@given(envelopes(), instants)
def test_a_record_lives_until_its_death_and_before_its_expiry(envelope: Envelope, now: Instant) -> None:
    dead = envelope.death_time is not None
    expired = envelope.expire_time is not None and envelope.expire_time <= now
    assert envelope.lives(now) is (not dead and not expired)


# Sizes


def written(value: bytes, *, times: int = 1, ttl: int | None = None, step: int = 40, number_from: int = 1) -> bytes:
    """What stands in the store after one client wrote ``value`` so often."""
    clock, source = HandClock(), chance()
    sighting = NOTHING
    data = b""
    for number in range(number_from, number_from + times):
        now = clock.now()
        draft = Draft(sighting, write=new_write(source), now=now, settings=SETTINGS)
        put = Put(
            name=name("greeting"),
            value=value,
            content_type="application/json",
            expiry=Instant(now + ttl) if ttl else None,
            request=Request(client=2**63 + 5, number=number, first_sent=now, repeated=False),
        )
        draft.apply(put, 0)
        data = encode(draft.envelope())
        sighting = seen(Stored(data=data, etag=StoreEtag("1")))
        clock.advance(step)
    return data


@pytest.mark.parametrize("number", [1, 300, 1_000_000])
def test_a_value_of_256_bytes_written_once_carries_at_most_100_bytes(number: int) -> None:
    value = chance().randbytes(256)
    assert len(written(value, ttl=3_600_000, number_from=number)) - 256 <= 100


@pytest.mark.parametrize(("times", "bound"), [(2, 140), (16, 650), (17, 650), (200, 650)])
def test_a_value_carries_a_bounded_trail_however_often_it_is_written(times: int, bound: int) -> None:
    value = chance().randbytes(256)
    assert len(written(value, times=times, ttl=3_600_000, number_from=1_000_000)) - 256 <= bound


def test_a_value_written_rarely_carries_the_names_of_its_last_writes_and_no_more() -> None:
    assert len(written(bytes(256), times=40, step=11 * MINUTE)) - 256 <= 100 + 15 * SHORT_BYTES


def test_a_tombstone_is_small() -> None:
    assert len(tombstone(WriteId(b"w" * 14), START)) <= 60


# Sightings


def test_a_made_tombstone_is_dead_from_the_start() -> None:
    envelope = decode(tombstone(WriteId(b"w" * 14), START))
    assert envelope is not None
    assert not envelope.lives(START)
    assert envelope.last_write == b"w" * 14


def test_a_raw_values_version_tells_apart_its_bytes_and_its_etag_in_the_store() -> None:
    def version(data: bytes, etag: str) -> Version:
        content = seen(Stored(data=data, etag=StoreEtag(etag))).content
        assert isinstance(content, Raw)
        return content.version

    assert version(b"a", "1") == version(b"a", "1")
    assert len({version(b"a", "1"), version(b"b", "1"), version(b"a", "2"), version(b"1\0a", "1")}) == 4


def test_an_absence_that_is_only_likely_is_no_ground_for_a_no() -> None:
    assert seen(Absence.LIKELY).hinted
    assert not seen(Absence.CERTAIN).hinted
    assert seen(Absence.CERTAIN) is NOTHING


def test_a_hint_leaves_the_value_behind() -> None:
    hint = seen(Stored(data=written(b"x" * 1000), etag=StoreEtag("4"))).as_hint()
    assert hint.hinted
    assert isinstance(hint.content, Envelope)
    assert hint.content.value == b""
    assert hint.etag == "4"


def test_what_is_absent_has_forgotten_all_but_half_a_dead_life() -> None:
    half = SETTINGS.dead_life_ms // 2
    assert Sighting().trail(START, half).forgotten == START - half


# How long the store must keep it


def stored(operations: Sequence[Put | Delete], at: int = START) -> Envelope:
    draft = Draft(NOTHING, write=new_write(random.Random(1)), now=Instant(at), settings=SETTINGS)
    for position, operation in enumerate(operations):
        draft.apply(operation, position)
    return draft.envelope()


def test_a_record_without_expiry_is_kept_for_ever() -> None:
    assert physical_life(stored([Put(name=name(), value=b"")]), START, SETTINGS) is None


def test_an_expiring_record_is_kept_for_a_dead_life_after_its_expiry() -> None:
    envelope = stored([Put(name=name(), value=b"", expiry=Instant(START + 5 * SECOND))])
    life = physical_life(envelope, START, SETTINGS)
    assert life is not None
    assert life.total_seconds() == 5 + SETTINGS.dead_life.total_seconds()


def test_a_dead_record_is_kept_for_a_dead_life_after_its_last_write() -> None:
    envelope = stored([Put(name=name(), value=b"", expiry=Instant(START + 1)), Delete(name=name())])
    assert physical_life(envelope, START, SETTINGS) == SETTINGS.dead_life


def test_an_expired_record_that_is_written_lives_a_whole_dead_life_more() -> None:
    clock = HandClock()
    requests = Requests(clock)
    before = stored([Put(name=name(), value=b"v", expiry=Instant(START + 1))])
    now = Instant(START + 10 * MINUTE)
    draft = Draft(Sighting(etag=StoreEtag("1"), content=before), write=new_write(chance(3)), now=now, settings=SETTINGS)
    draft.apply(Delete(name=name(), request=again(replace(requests.new(), first_sent=now))), 0)
    assert draft.changed
    assert physical_life(draft.envelope(), now, SETTINGS) == SETTINGS.dead_life
