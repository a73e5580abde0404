"""Promises 1 to 6: existence, bytes, etags, first and last write, delete."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from keepstate.testing import MovableClock
from tests.contract.api import ABSENT, EXISTS, Api, Refused, if_etag
from tests.contract.conftest import Backend

SECOND = timedelta(seconds=1)
WRITERS = 64


@pytest.mark.promise(1)
async def test_never_written_deleted_and_expired_look_the_same(api: Api, clock: MovableClock) -> None:
    never, deleted, expired = api.key(), api.key(), api.key()
    await api.put(deleted)
    await api.delete(deleted)
    await api.put(expired, ttl=SECOND)
    clock.advance(2 * SECOND)
    answers = []
    for key in (never, deleted, expired):
        with pytest.raises(Refused) as refused:
            await api.get(key)
        metadata = {name: value for name, value in refused.value.metadata.items() if name != "key"}
        answers.append((refused.value.what, refused.value.message, metadata))
    assert answers[0][0] == ("NOT_FOUND", "RECORD_NOT_FOUND")
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.promise(1, 2)
async def test_a_value_of_zero_bytes_exists(api: Api) -> None:
    key = api.key()
    etag = await api.put(key, b"")
    record = await api.get(key)
    assert (record.value, record.etag) == (b"", etag)


@pytest.mark.promise(2)
@pytest.mark.parametrize(
    "value",
    [
        bytes(range(256)),
        b"\x00",
        b"null",
        b'{"a": 12345678901234567890}',
        b'"text"',
        b"$set",
        b"\xf5KS\x01 looks like an envelope",
        "ключ-鍵-🔑".encode(),
    ],
    ids=["every byte", "NUL", "null", "big number", "JSON text", "dollar", "magic", "unicode"],
)
async def test_bytes_come_back_identical(api: Api, value: bytes) -> None:
    key = api.key()
    await api.put(key, value)
    assert await api.value(key) == value


@pytest.mark.promise(2)
async def test_the_largest_value_comes_back_and_one_byte_more_is_refused(api: Api) -> None:
    key = api.key()
    largest = hashlib.shake_256(b"seed").digest(1024 * 1024)
    await api.put(key, largest)
    assert await api.value(key) == largest
    with pytest.raises(Refused) as refused:
        await api.put(key, largest + b"!")
    assert refused.value.what == ("INVALID_ARGUMENT", "INVALID_FIELDS")
    assert refused.value.fields == ["value"]
    assert await api.value(key) == largest


@pytest.mark.promise(2)
async def test_content_type_and_times_come_back(api: Api) -> None:
    key = api.key()
    await api.put(key, content_type="application/x-thing; v=1")
    first = await api.get(key)
    await api.put(key, b"other", content_type="")
    second = await api.get(key)
    assert first.content_type == "application/x-thing; v=1"
    assert second.content_type == ""
    assert second.create_time == first.create_time
    assert second.update_time.ToNanoseconds() >= first.update_time.ToNanoseconds()
    assert not first.HasField("expire_time")


@pytest.mark.promise(3)
async def test_every_write_returns_the_etag_that_reads_then_show(api: Api) -> None:
    key = api.key()
    etags = []
    for number in range(20):
        etags.append(await api.put(key, str(number).encode()))
        assert (await api.get(key)).etag == etags[-1]
    assert len(set(etags)) == len(etags)


@pytest.mark.promise(3)
@pytest.mark.parametrize("end", ["delete", "expiry"])
async def test_an_etag_never_matches_a_later_life(api: Api, clock: MovableClock, end: str) -> None:
    key = api.key()
    old = [await api.put(key, b"1"), await api.put(key, b"2", ttl=SECOND)]
    if end == "delete":
        assert await api.delete(key)
    else:
        clock.advance(2 * SECOND)
    for etag in old:
        with pytest.raises(Refused) as refused:
            await api.put(key, b"revived", when=if_etag(etag))
        assert refused.value.what == ("ABORTED", "ETAG_MISMATCH")
        assert refused.value.metadata["etag"] == ""
    assert await api.value(key) is None
    new = [await api.put(key, b"3"), await api.put(key, b"4")]
    assert not set(old) & set(new)
    for etag in (*old, new[0]):
        with pytest.raises(Refused) as refused:
            await api.put(key, b"revived", when=if_etag(etag))
        assert refused.value.metadata["etag"] == new[-1]
        with pytest.raises(Refused):
            await api.delete(key, when=if_etag(etag))
    assert await api.value(key) == b"4"


@pytest.mark.promise(4)
@pytest.mark.parametrize("kind", ["put", "delete"])
async def test_of_many_writers_with_one_etag_one_wins(api: Api, kind: str) -> None:
    key = api.key()
    held = await api.put(key, b"before")

    async def write(number: int) -> str:
        if kind == "put":
            return await api.put(key, str(number).encode(), when=if_etag(held))
        return str(await api.delete(key, when=if_etag(held)))

    results = await asyncio.gather(*map(write, range(WRITERS)), return_exceptions=True)
    won = [result for result in results if isinstance(result, str)]
    lost = [result for result in results if isinstance(result, Refused)]
    assert len(won) == 1
    assert Counter(each.what for each in lost) == {("ABORTED", "ETAG_MISMATCH"): WRITERS - 1}
    current = won[0] if kind == "put" else ""
    assert {each.metadata["etag"] for each in lost} == {current}


@pytest.mark.promise(4)
async def test_of_many_writers_through_two_instances_one_wins(api: Api, store: str, another: Callable[[], Any]) -> None:
    key = api.key()
    held = await api.put(key, b"before")
    async with another() as other:
        apis = (api, Api(other.channel, store, api.prefix))

        async def write(number: int) -> str:
            return await apis[number % 2].put(key, str(number).encode(), when=if_etag(held))

        results = await asyncio.gather(*map(write, range(WRITERS)), return_exceptions=True)
    won = [result for result in results if isinstance(result, str)]
    lost = [result for result in results if isinstance(result, Refused)]
    assert len(won) == 1
    assert Counter(each.what for each in lost) == {("ABORTED", "ETAG_MISMATCH"): WRITERS - 1}
    assert {each.metadata["etag"] for each in lost} == set(won)


@pytest.mark.promise(4)
async def test_of_many_creators_one_wins(api: Api) -> None:
    key = api.key()
    results = await asyncio.gather(
        *(api.put(key, str(number).encode(), when=ABSENT) for number in range(WRITERS)), return_exceptions=True
    )
    won = [result for result in results if isinstance(result, str)]
    lost = [result for result in results if isinstance(result, Refused)]
    assert len(won) == 1
    assert Counter(each.what for each in lost) == {("ALREADY_EXISTS", "RECORD_ALREADY_EXISTS"): WRITERS - 1}
    assert {each.metadata["etag"] for each in lost} == set(won)


@pytest.mark.promise(4)
async def test_exists_demands_that_the_record_is_there(api: Api) -> None:
    key = api.key()
    with pytest.raises(Refused) as refused:
        await api.put(key, when=EXISTS)
    assert refused.value.what == ("NOT_FOUND", "RECORD_NOT_FOUND")
    assert await api.value(key) is None
    await api.put(key, b"1")
    await api.put(key, b"2", when=EXISTS)
    assert await api.value(key) == b"2"
    with pytest.raises(Refused) as refused:
        await api.put(key, b"3", when=ABSENT)
    assert refused.value.what == ("ALREADY_EXISTS", "RECORD_ALREADY_EXISTS")
    assert await api.value(key) == b"2"


@pytest.mark.promise(4)
async def test_concurrent_increments_by_etag_lose_nothing(api: Api) -> None:
    key = api.key()
    await api.put(key, b"0")

    async def increment() -> None:
        while True:
            record = await api.get(key)
            try:
                await api.put(key, str(int(record.value) + 1).encode(), when=if_etag(record.etag))
            except Refused as refused:
                assert refused.what == ("ABORTED", "ETAG_MISMATCH")
            else:
                return

    await asyncio.gather(*(increment() for _ in range(16)))
    assert await api.value(key) == b"16"


@pytest.mark.promise(5)
async def test_a_write_without_precondition_succeeds_whatever_was_there(api: Api, backend: Backend) -> None:
    absent, present, conditional, dead = api.key(), api.key(), api.key(), api.key()
    await api.put(present)
    await api.put(conditional, when=ABSENT)
    await api.put(dead)
    await api.delete(dead)
    for key in (absent, present, conditional, dead):
        await api.put(key, b"last")
        assert await api.value(key) == b"last"


@pytest.mark.promise(5)
async def test_many_unconditional_writers_of_one_key_all_succeed(api: Api) -> None:
    key = api.key()
    etags = await asyncio.gather(*(api.put(key, str(number).encode()) for number in range(WRITERS)))
    assert len(set(etags)) == WRITERS
    assert (await api.get(key)).etag in etags


@pytest.mark.promise(6)
async def test_delete_is_idempotent_and_says_whether_a_record_was_there(api: Api, clock: MovableClock) -> None:
    key = api.key()
    assert await api.delete(key) is False
    await api.put(key)
    assert await api.delete(key) is True
    assert await api.delete(key) is False
    await api.put(key, ttl=SECOND)
    clock.advance(2 * SECOND)
    assert await api.delete(key) is False


@pytest.mark.promise(4, 6)
async def test_a_conditional_delete_demands_the_present_etag(api: Api) -> None:
    key = api.key()
    old = await api.put(key, b"1")
    new = await api.put(key, b"2")
    with pytest.raises(Refused) as refused:
        await api.delete(key, when=if_etag(old))
    assert refused.value.what == ("ABORTED", "ETAG_MISMATCH")
    assert refused.value.metadata["etag"] == new
    assert await api.delete(key, when=if_etag(new)) is True
    with pytest.raises(Refused) as refused:
        await api.delete(key, when=if_etag(new))
    assert refused.value.what == ("ABORTED", "ETAG_MISMATCH")
    with pytest.raises(Refused) as refused:
        await api.delete(key, when=EXISTS)
    assert refused.value.what == ("NOT_FOUND", "RECORD_NOT_FOUND")
