"""Every state of a record, and drafts upon them."""

from __future__ import annotations

from keepstate_server.domain.errors import RecordChanged, RecordExists, RecordMissing
from keepstate_server.domain.operations import Check, Operation
from keepstate_server.domain.times import Instant
from keepstate_server.engine.draft import Draft, Result
from keepstate_server.engine.envelope import Envelope
from keepstate_server.engine.sighting import NOTHING, Raw, Sighting
from keepstate_server.engine.trail import Trail, TrailEntry, WriteId, version_at
from keepstate_server.stores.base import StoreEtag
from tests.unit.server.hand import MINUTE, SETTINGS, START

FIRST = WriteId(b"first write...")
NOW_WRITE = WriteId(b"the new write.")
CREATED = Instant(START - MINUTE)
VERSION = version_at(FIRST, 0)
OTHER = version_at(WriteId(b"someone else's"), 0)
LATER = Instant(START + 5 * MINUTE)


def envelope(*, expire: Instant | None = None, died: Instant | None = None, trail: Trail | None = None) -> Envelope:
    return Envelope(
        version=VERSION,
        value=b"" if died else b"old",
        content_type="text/plain",
        create_time=CREATED,
        update_time=CREATED,
        expire_time=expire,
        death_time=died,
        write_time=CREATED,
        trail=trail or Trail(entries=(TrailEntry(write=FIRST, time=CREATED),)),
    )


def raw(expire: Instant | None = None) -> Sighting:
    return Sighting(etag=StoreEtag("1"), content=Raw(value=b"old", version=VERSION, expire_time=expire))


STATES = {
    "absent": NOTHING,
    "live": Sighting(etag=StoreEtag("1"), content=envelope()),
    "expiring": Sighting(etag=StoreEtag("1"), content=envelope(expire=LATER)),
    "expired": Sighting(etag=StoreEtag("1"), content=envelope(expire=START)),
    "dead": Sighting(etag=StoreEtag("1"), content=envelope(died=CREATED)),
    "raw": raw(),
    "raw expiring": raw(LATER),
    "raw expired": raw(START),
}


THERE = {"live", "expiring", "raw", "raw expiring"}
ALL = sorted(STATES)
GONE = sorted(STATES.keys() - THERE)


def draft(sighting: Sighting, *, tells_expiry: bool = True) -> Draft:
    return Draft(sighting, write=NOW_WRITE, now=START, settings=SETTINGS, tells_expiry=tells_expiry)


def applied(operation: Operation | Check, state: str) -> tuple[Result, Draft]:
    one = draft(STATES[state])
    return one.apply(operation, 0), one


def reached(result: Result) -> tuple[type, str]:
    etag = result.etag if isinstance(result, RecordChanged | RecordExists | RecordMissing) else ""
    return type(result), etag
