"""Promise 12: updates at the service: increment, append, JSON merge patch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from keepstate.testing import MovableClock
from keepstate.v1 import record_pb2
from keepstate.v1 import state_service_pb2 as pb
from keepstate_server.domain.names import stored_key
from keepstate_server.stores.sidecar import StateItem
from tests.contract.api import (
    ABSENT,
    EXISTS,
    UPDATE_NOT_APPLICABLE,
    Api,
    Refused,
    again,
    append,
    if_etag,
    refused,
)
from tests.contract.conftest import Backend, running_service

pytestmark = pytest.mark.promise(12)

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
GREATEST = 2**63 - 1
MEBIBYTE = 1024 * 1024

add = pb.Increment
merge = pb.MergePatch


# What each one does


async def test_an_increment_adds_and_returns_the_record(api: Api) -> None:
    key = api.key("counter")
    first = await api.update(key, add(delta=5, initial=10))
    assert (first.record.value, first.record.content_type, first.repeated) == (b"15", "application/json", False)
    second = await api.update(key, add(delta=-20, initial=10))
    assert second.record.value == b"-5"
    assert second.record == await api.get(key)
    assert second.record.create_time == first.record.create_time
    assert second.record.etag != first.record.etag


async def test_an_increment_keeps_to_its_bounds_and_to_64_bits(api: Api) -> None:
    key = api.key()
    assert (await api.update(key, add(delta=3, minimum=0, maximum=3))).record.value == b"3"
    etag = (await api.get(key)).etag
    for change in (add(delta=1, maximum=3), add(delta=-4, minimum=0), add(delta=GREATEST)):
        no = await refused(api.update(key, change))
        assert no.what == UPDATE_NOT_APPLICABLE
        assert (no.metadata["key"], no.metadata["etag"]) == (key, etag)
    assert (await api.get(key)).etag == etag
    top = await api.update(key, add(delta=GREATEST - 3))
    assert top.record.value == str(GREATEST).encode()


async def test_64_increments_through_two_instances_add_up(api: Api, store: str, another: Callable[[], Any]) -> None:
    key = api.key()
    async with another() as other:
        through = [api, Api(other.channel, store, api.prefix)]
        answers = await asyncio.gather(
            *(through[number % 2].update(key, add(delta=number + 1), timeout=60) for number in range(64))
        )
    assert await api.value(key) == str(64 * 65 // 2).encode()
    assert len({answer.record.value for answer in answers}) == 64, "each saw a moment of its own"
    assert len({answer.record.etag for answer in answers}) == 64


async def test_an_append_keeps_the_newest(api: Api) -> None:
    key = api.key()
    assert (await api.update(key, append(b'{"n": 1}', b"2", most=3))).record.value == b'[{"n": 1},2]'
    assert (await api.update(key, append(b"3", most=3))).record.value == b'[{"n": 1},2,3]'
    assert (await api.update(key, append(b"4", b"5", most=3))).record.value == b"[3,4,5]"
    assert (await api.update(key, append(b"6"))).record.value == b"[3,4,5,6]"
    assert (await api.update(key, append(b"7", most=1))).record.value == b"[7]"
    assert await api.value(key) == b"[7]"


async def test_appends_through_two_instances_lose_nothing(api: Api, store: str, another: Callable[[], Any]) -> None:
    key = api.key()
    async with another() as other:
        through = [api, Api(other.channel, store, api.prefix)]
        await asyncio.gather(*(through[n % 2].update(key, append(str(n).encode()), timeout=60) for n in range(32)))
    assert sorted(json.loads(await api.value(key) or b"")) == list(range(32))


async def test_a_merge_patch_does_what_rfc_7396_says(api: Api) -> None:
    key = api.key()
    created = await api.update(key, merge(patch=b'{"a": "b", "c": {"d": "e", "f": "g"}, "x": null}'))
    assert created.record.value == b'{"a":"b","c":{"d":"e","f":"g"}}'
    patched = await api.update(key, merge(patch=b'{"a": "z", "c": {"f": null}, "l": [1, null]}'))
    assert json.loads(patched.record.value) == {"a": "z", "c": {"d": "e"}, "l": [1, None]}
    assert (await api.update(key, merge(patch=b"[1]"))).record.value == b"[1]"
    assert (await api.update(key, merge(patch=b'{"a": 1}'))).record.value == b'{"a":1}'


async def test_what_an_update_does_not_name_stays_to_the_letter(api: Api) -> None:
    items, members = api.key(), api.key()
    numbers = b"1.10, 1e400, 123456789012345678901234567890, -0.0"
    await api.put(items, b"[" + numbers + b', {"k": 1, "k": 2}]')
    await api.put(members, b'{"kept": [' + numbers + b'], "a": 1}')
    assert (await api.update(items, append(b"2.50"))).record.value == b"[" + numbers + b', {"k": 1, "k": 2},2.50]'
    assert b"[" + numbers + b"]" in (await api.update(members, merge(patch=b'{"a": 1.0}'))).record.value


async def test_members_stay_in_their_order_and_new_ones_come_last(api: Api) -> None:
    key = api.key()
    for patch in (b'{"b": 1, "a": 1}', b'{"9": 1}', b'{"a": 2, "0": 1}', b'{"b": null}', b'{"c": 1, "b": 3}'):
        await api.update(key, merge(patch=patch))
    assert await api.value(key) == b'{"a":2,"9":1,"0":1,"c":1,"b":3}'


async def test_an_update_takes_over_another_programs_value(api: Api, backend: Backend, store: str) -> None:
    key = api.key()
    item = StateItem(key=stored_key("", key), value=b"41", etag=None, ttl_seconds=None)
    await backend.sidecar.save(store, [item], timeout=10)
    etag = (await api.get(key)).etag
    assert (await api.update(key, add(delta=1), when=if_etag(etag))).record.value == b"42"
    assert (await api.get(key)).HasField("update_time")


# What it shares with every write


async def test_a_precondition_holds_for_an_update_as_for_a_put(api: Api) -> None:
    key = api.key()
    assert (await refused(api.update(key, add(delta=1), when=EXISTS))).what == ("NOT_FOUND", "RECORD_NOT_FOUND")
    first = (await api.update(key, add(delta=1), when=ABSENT)).record.etag
    second = (await api.update(key, add(delta=1), when=if_etag(first))).record.etag
    stale = await refused(api.update(key, add(delta=1), when=if_etag(first)))
    assert stale.what == ("ABORTED", "ETAG_MISMATCH")
    assert stale.metadata["etag"] == second
    taken = await refused(api.update(key, add(delta=1), when=ABSENT))
    assert taken.what == ("ALREADY_EXISTS", "RECORD_ALREADY_EXISTS")
    assert await api.value(key) == b"2"


async def test_an_update_sets_keeps_and_clears_the_expiry(api: Api, clock: MovableClock) -> None:
    key = api.key()
    given = (await api.update(key, add(delta=1), ttl=HOUR)).record
    assert abs(given.expire_time.ToMilliseconds() - clock.now() - 3_600_000) < 20_000
    kept = (await api.update(key, add(delta=1), keep_expiry=True)).record
    assert kept.expire_time == given.expire_time
    at = Timestamp()
    at.FromMilliseconds(clock.now() + 60_000)
    moved = (await api.update(key, add(delta=1), expire_time=at)).record
    assert moved.expire_time.ToMilliseconds() == at.ToMilliseconds()
    cleared = (await api.update(key, add(delta=1))).record
    assert not cleared.HasField("expire_time")
    clock.advance(2 * HOUR)
    assert await api.value(key) == b"4"


async def test_an_expired_or_deleted_record_counts_as_absent(api: Api, clock: MovableClock) -> None:
    expired, deleted = api.key(), api.key()
    await api.update(expired, add(delta=1), ttl=SECOND)
    await api.update(deleted, add(delta=1))
    await api.delete(deleted)
    clock.advance(2 * SECOND)
    for key in (expired, deleted):
        assert (await api.update(key, add(delta=1, initial=100))).record.value == b"101"
    assert not (await api.get(expired)).HasField("expire_time")


# Refusals


@pytest.mark.parametrize(
    ("value", "change"),
    [
        (b"a secret", add(delta=1)),
        (b"1.5", add(delta=1)),
        (b"", add(delta=1)),
        (str(GREATEST + 1).encode(), add(delta=-1)),
        (b"a secret", append(b"1")),
        (b'{"a": 1}', append(b"1")),
        (b"[1", append(b"1")),
        (b"[" * 101 + b"]" * 101, append(b"1")),
        (b"a secret", merge(patch=b"{}")),
        (b'{"a": NaN}', merge(patch=b'{"b": 1}')),
        (b'{"a": 1, "a": 2}', merge(patch=b'{"a": 3}')),
        (b'{"a": "\xff"}', merge(patch=b'{"b": 1}')),
        (b"[" * 1000_000, merge(patch=b'{"b": 1}')),
    ],
    ids=[
        *("text", "fraction", "no bytes", "65 bits", "text to append to", "object to append to", "no JSON"),
        *("too deep", "text to merge into", "NaN", "member twice", "no UTF-8", "as deep as it is long"),
    ],
)
async def test_a_value_that_does_not_fit_is_left_as_it_is_and_not_told(api: Api, value: bytes, change: Any) -> None:
    key = api.key()
    etag = await api.put(key, value)
    no = await refused(api.update(key, change))
    assert no.what == UPDATE_NOT_APPLICABLE
    assert (no.metadata["key"], no.metadata["etag"], no.metadata["store"]) == (key, etag, api.store)
    assert "secret" not in no.message
    record = await api.get(key)
    assert (record.value, record.etag, record.content_type) == (value, etag, "text/plain")


async def test_a_value_that_would_be_over_the_limit_is_refused(api: Api) -> None:
    key = api.key()
    value = b'["' + b"x" * (MEBIBYTE - 6) + b'"]'
    await api.put(key, value)
    no = await refused(api.update(key, append(b"123")))
    assert no.what == UPDATE_NOT_APPLICABLE
    assert "1048576 bytes" in no.message
    assert await api.value(key) == value
    assert len((await api.update(key, append(b"1"))).record.value) == MEBIBYTE


BAD = {
    "no update": (pb.UpdateRequest(), "update"),
    "bounds": (pb.UpdateRequest(increment=add(minimum=2, maximum=1)), "increment.minimum"),
    "no items": (pb.UpdateRequest(append=append()), "append.items"),
    "too many items": (pb.UpdateRequest(append=append(*[b"1"] * 10_001)), "append.items"),
    "items over the limit": (pb.UpdateRequest(append=append(*[b'"' + b"x" * 600_000 + b'"'] * 2)), "append.items"),
    "negative length": (pb.UpdateRequest(append=append(b"1", most=-1)), "append.max_length"),
    "empty item": (pb.UpdateRequest(append=append(b"1", b"")), "append.items[1]"),
    "item no JSON": (pb.UpdateRequest(append=append(b"1", b"2", b"3", b"{x}")), "append.items[3]"),
    "two values in an item": (pb.UpdateRequest(append=append(b"1 2")), "append.items[0]"),
    "NaN": (pb.UpdateRequest(append=append(b"NaN")), "append.items[0]"),
    "item no UTF-8": (pb.UpdateRequest(append=append(b'"\xff"')), "append.items[0]"),
    "deep item": (pb.UpdateRequest(append=append(b"[" * 500_000 + b"]" * 500_000)), "append.items[0]"),
    "no patch": (pb.UpdateRequest(merge_patch=merge()), "merge_patch.patch"),
    "patch no JSON": (pb.UpdateRequest(merge_patch=merge(patch=b"{'a': 1}")), "merge_patch.patch"),
    "Infinity": (pb.UpdateRequest(merge_patch=merge(patch=b'{"a": Infinity}')), "merge_patch.patch"),
    "patch no UTF-8": (pb.UpdateRequest(merge_patch=merge(patch=b'{"\xff": 1}')), "merge_patch.patch"),
    "patch names a member twice": (pb.UpdateRequest(merge_patch=merge(patch=b'{"a":1,"a":2}')), "merge_patch.patch"),
    "patch over the limit": (
        pb.UpdateRequest(merge_patch=merge(patch=b'"' + b"x" * MEBIBYTE + b'"')),
        "merge_patch.patch",
    ),
    "deep patch": (pb.UpdateRequest(merge_patch=merge(patch=b'{"a":' * 200_000)), "merge_patch.patch"),
    "ttl": (pb.UpdateRequest(increment=add(delta=1), ttl=Duration()), "ttl"),
    "keep_expiry false": (pb.UpdateRequest(increment=add(delta=1), keep_expiry=False), "keep_expiry"),
    "etag": (pb.UpdateRequest(increment=add(delta=1), precondition=if_etag("no etag")), "precondition.etag"),
    "request": (
        pb.UpdateRequest(increment=add(delta=1), request=record_pb2.RequestId(client=1, number=1)),
        "request.first_sent",
    ),
    "consistency": (pb.UpdateRequest(increment=add(delta=1), consistency=17), "consistency"),  # type: ignore[arg-type]
}


@pytest.mark.promise(13, 12)
@pytest.mark.parametrize("what", BAD)
async def test_a_bad_update_is_refused_and_its_field_named(api: Api, what: str) -> None:
    message, field = BAD[what]
    update = pb.UpdateRequest()
    update.CopyFrom(message)
    update.name.CopyFrom(api.name(api.key()))
    no = await refused(api.call(api.state.Update(update)))
    assert no.what == ("INVALID_ARGUMENT", "INVALID_FIELDS")
    assert no.fields == [field]
    (result,) = await api.batch([pb.BatchOperation(update=update)])
    assert Refused.of(result.error).fields == [f"operations[0].update.{field}"]
    assert await api.value(update.name.key) is None


async def test_how_large_a_value_may_become_is_a_setting(backend: Backend, api: Api, clock: MovableClock) -> None:
    async with running_service(backend.address, clock=clock, value_limit=8) as small:
        api = Api(small.channel, api.store, api.prefix)
        key = api.key()
        assert (await api.update(key, append(b"12345"))).record.value == b"[12345]"
        assert (await refused(api.update(key, append(b"1")))).what == UPDATE_NOT_APPLICABLE
        assert (await refused(api.update(key, append(b"123456789")))).fields == ["append.items"]
        assert await api.value(key) == b"[12345]"


# Once


@pytest.mark.promise(11, 12)
async def test_a_repeated_update_is_applied_once_and_returns_the_record_as_it_is_now(
    api: Api, store: str, request_id: Callable[[], record_pb2.RequestId], another: Callable[[], Any]
) -> None:
    key, request = api.key(), request_id()
    assert not (await api.update(key, append(b"1"), request=request)).repeated
    await api.update(key, append(b"2"))
    for attempt in (request, again(request)):
        repeat = await api.update(key, append(b"1"), request=attempt)
        assert (repeat.record, repeat.repeated) == (await api.get(key), True)
    async with another() as other:
        elsewhere = await Api(other.channel, store, api.prefix).update(key, append(b"1"), request=again(request))
    assert (elsewhere.record.value, elsewhere.repeated) == (b"[1,2]", True)
    await api.delete(key)
    gone = await api.update(key, append(b"1"), request=again(request))
    assert (gone.HasField("record"), gone.repeated) == (False, True)
    assert await api.value(key) is None


@pytest.mark.promise(11, 12)
async def test_attempts_that_run_side_by_side_add_once(
    api: Api, store: str, request_id: Callable[[], record_pb2.RequestId], another: Callable[[], Any]
) -> None:
    key = api.key()
    async with another() as other:
        second = Api(other.channel, store, api.prefix)
        for number in range(1, 11):
            request = request_id()
            answers = await asyncio.gather(
                api.update(key, add(delta=1), request=request), second.update(key, add(delta=1), request=again(request))
            )
            assert sorted(answer.repeated for answer in answers) == [False, True]
            assert await api.value(key) == str(number).encode()


@pytest.mark.promise(11, 12)
async def test_the_refusal_of_a_repeat_stands_though_the_update_would_fit_later(
    api: Api, request_id: Callable[[], record_pb2.RequestId]
) -> None:
    key, request = api.key(), request_id()
    await api.put(key, b"no number")
    assert (await refused(api.update(key, add(delta=1), request=again(request)))).what == UPDATE_NOT_APPLICABLE
    await api.put(key, b"1")
    for attempt in (request, again(request)):
        assert (await refused(api.update(key, add(delta=1), request=attempt))).what == UPDATE_NOT_APPLICABLE
    assert await api.value(key) == b"1"
