"""Values that another program wrote through Dapr: read as raw records, enveloped at their first write (5, 3, 7)."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from keepstate_server.domain.names import stored_key
from keepstate_server.domain.records import Consistency
from keepstate_server.stores.sidecar import StateItem
from tests.contract.api import ABSENT, EXISTS, Api, Refused, if_etag
from tests.contract.conftest import Backend, eventually

VALUE = b'{"written": "by a plain program"}'
HOUR = timedelta(hours=1)


@pytest.fixture
def plain(api: Api, backend: Backend, store: str):  # type: ignore[no-untyped-def]
    """Writes as a plain Dapr program does, and returns the key."""

    async def write(key: str, value: bytes = VALUE, ttl_seconds: int | None = None) -> str:
        item = StateItem(key=stored_key("", key), value=value, etag=None, ttl_seconds=ttl_seconds)
        await backend.sidecar.save(store, [item], timeout=10)
        return key

    return write


@pytest.mark.promise(2, 5)
async def test_it_is_read_as_it_is(api: Api, plain) -> None:  # type: ignore[no-untyped-def]
    key = await plain(api.key())
    record = await api.get(key)
    assert (record.value, record.content_type) == (VALUE, "")
    assert record.etag
    assert not record.HasField("create_time")
    assert (await api.get(key)).etag == record.etag


@pytest.mark.promise(5)
@pytest.mark.parametrize("when", [None, EXISTS, "etag"], ids=["always", "exists", "etag"])
async def test_it_is_written_over_and_takes_the_envelope(api: Api, plain, when: object) -> None:  # type: ignore[no-untyped-def]
    key = await plain(api.key())
    precondition = if_etag((await api.get(key)).etag) if when == "etag" else when
    etag = await api.put(key, b"new", when=precondition)
    record = await api.get(key)
    assert (record.value, record.etag) == (b"new", etag)
    assert record.HasField("update_time")
    assert not record.HasField("create_time"), "nobody knows when this life began"


@pytest.mark.promise(3, 4)
async def test_its_etag_is_worth_as_much_as_any(api: Api, plain) -> None:  # type: ignore[no-untyped-def]
    key = await plain(api.key())
    etag = (await api.get(key)).etag
    await plain(key, b"the plain program went on")
    with pytest.raises(Refused) as refused:
        await api.put(key, when=if_etag(etag))
    assert refused.value.what == ("ABORTED", "ETAG_MISMATCH")
    assert refused.value.metadata["etag"] == (await api.get(key)).etag
    with pytest.raises(Refused) as refused:
        await api.put(key, when=ABSENT)
    assert refused.value.what == ("ALREADY_EXISTS", "RECORD_ALREADY_EXISTS")
    results = await asyncio.gather(
        *(api.put(key, b"won", when=if_etag(refused.value.metadata["etag"])) for _ in range(16)), return_exceptions=True
    )
    assert sum(isinstance(result, str) for result in results) == 1
    assert {each.what for each in results if isinstance(each, Refused)} == {("ABORTED", "ETAG_MISMATCH")}


@pytest.mark.promise(6)
async def test_it_is_deleted(api: Api, plain) -> None:  # type: ignore[no-untyped-def]
    key = await plain(api.key())
    etag = (await api.get(key)).etag
    assert await api.delete(key) is True
    assert await api.value(key) is None
    with pytest.raises(Refused):
        await api.put(key, when=if_etag(etag))


@pytest.mark.promise(7)
async def test_touch_keeps_value_and_etag(api: Api, plain) -> None:  # type: ignore[no-untyped-def]
    key = await plain(api.key())
    before = await api.get(key)
    touched = await api.touch(key, ttl=HOUR)
    after = await api.get(key)
    assert (after.value, after.etag, touched.etag) == (before.value, before.etag, before.etag)
    assert after.HasField("expire_time")
    await api.put(key, when=if_etag(before.etag))


@pytest.mark.promise(7)
async def test_a_sliding_read_keeps_value_and_etag(api: Api, plain) -> None:  # type: ignore[no-untyped-def]
    key = await plain(api.key())
    before = await api.get(key)
    slid = await api.get(key, slide=HOUR)
    after = await api.get(key)
    assert (slid.value, slid.etag) == (after.value, after.etag) == (before.value, before.etag)
    assert slid.expire_time == after.expire_time
    await api.put(key, b"new", keep_expiry=True, when=if_etag(before.etag))
    assert (await api.get(key)).expire_time == after.expire_time, "it was given through the service: it can be kept"


@pytest.mark.promise(7)
async def test_an_expiry_that_it_had_ends_with_a_touch_for_ever(api: Api, plain, store: str) -> None:  # type: ignore[no-untyped-def]
    # Where a read tells it, it must be later than other cases moved the clock; on Redis nobody sees it but Redis.
    life = 2 if store == "redis" else 30_000_000
    touched, untouched = await plain(api.key(), ttl_seconds=life), await plain(api.key(), ttl_seconds=life)
    await api.touch(touched)
    assert not (await api.get(touched)).HasField("expire_time")
    if store != "redis":
        assert (await api.get(untouched)).HasField("expire_time")
        return

    async def the_other_is_gone() -> bool:
        return await api.value(untouched) is None

    await eventually(the_other_is_gone)
    assert await api.value(touched) == VALUE


@pytest.mark.promise(7)
async def test_an_expiry_that_it_had_removes_nothing_that_is_written_over_it(api: Api, plain) -> None:  # type: ignore[no-untyped-def]
    put, deleted = await plain(api.key(), ttl_seconds=2), await plain(api.key(), ttl_seconds=2)
    etag = await api.put(put, b"immortal")
    await api.delete(deleted)
    gone = await plain(api.key(), ttl_seconds=2)

    async def the_third_is_gone() -> bool:
        assert await api.value(put) == b"immortal"
        return await api.value(gone) is None

    await eventually(the_third_is_gone)
    assert (await api.get(put)).etag == etag


@pytest.mark.promise(7)
async def test_its_expiry_is_kept_where_the_store_tells_it_and_else_refused(api: Api, plain, store: str) -> None:  # type: ignore[no-untyped-def]
    key = await plain(api.key(), ttl_seconds=30_000_000)  # other cases moved the clock by hours
    if store == "redis":
        with pytest.raises(Refused) as refused:
            await api.put(key, b"new", keep_expiry=True)
        assert refused.value.what == ("FAILED_PRECONDITION", "UNSUPPORTED_BY_STORE")
        assert await api.value(key) == VALUE
        return
    expiry = (await api.get(key)).expire_time
    assert expiry.seconds
    await api.put(key, b"new", keep_expiry=True)
    record = await api.get(key)
    assert (record.value, record.expire_time) == (b"new", expiry)


@pytest.mark.promise(16)
async def test_what_lies_in_the_store_is_where_the_documents_say(api: Api, backend: Backend, store: str) -> None:
    await api.put("k/1", b"x", namespace="docs")
    await api.put("docs/k/1", b"y")
    for stored in ("docs/k/1", "docs%2Fk%2F1"):
        found = await backend.sidecar.get(store, stored, consistency=Consistency.STRONG, timeout=5)
        assert found
        assert found.data.startswith(b"\xf5KS\x01")


@pytest.mark.promise(9)
async def test_it_takes_part_in_transactions(api: Api, plain) -> None:  # type: ignore[no-untyped-def]
    put, deleted, checked, absent = await plain(api.key()), await plain(api.key()), await plain(api.key()), api.key()
    etags = {key: (await api.get(key)).etag for key in (put, deleted, checked)}
    answer = await api.transact(
        checks=[api.check(checked, if_etag(etags[checked])), api.check(absent, ABSENT)],
        puts=[api.put_request(put, b"new", when=if_etag(etags[put]))],
        deletes=[api.delete_request(deleted, if_etag(etags[deleted]))],
    )
    assert [(await api.get(put)).etag, answer.deletes[0].existed] == [answer.puts[0].etag, True]
    assert await api.values(put, deleted, checked, absent) == [b"new", None, VALUE, None]
    assert (await api.get(checked)).etag == etags[checked], "a check changes nothing that callers see"


@pytest.mark.promise(9)
async def test_a_transaction_that_is_refused_leaves_it_as_it_was(api: Api, plain) -> None:  # type: ignore[no-untyped-def]
    key, other = await plain(api.key()), api.key()
    before = await api.get(key)
    with pytest.raises(Refused) as refused:
        await api.transact(puts=[api.put_request(other)], checks=[api.check(key, ABSENT)])
    assert refused.value.what == ("ALREADY_EXISTS", "RECORD_ALREADY_EXISTS")
    assert refused.value.metadata["etag"] == before.etag
    await plain(key, b"the plain program went on")
    with pytest.raises(Refused) as refused:
        await api.transact(puts=[api.put_request(key, when=if_etag(before.etag)), api.put_request(other)])
    assert refused.value.what == ("ABORTED", "ETAG_MISMATCH")
    assert await api.values(key, other) == [b"the plain program went on", None]


@pytest.mark.promise(7, 9)
async def test_its_expiry_does_not_outlive_a_transaction(api: Api, plain, store: str) -> None:  # type: ignore[no-untyped-def]
    key, gone = await plain(api.key(), ttl_seconds=2), await plain(api.key(), ttl_seconds=2)
    await api.transact(puts=[api.put_request(key, b"mine"), api.put_request(api.key())])

    async def the_other_is_gone() -> bool:
        return await api.value(gone) is None

    await eventually(the_other_is_gone)
    assert await api.value(key) == b"mine"
