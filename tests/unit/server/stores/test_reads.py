"""What is read, and what an absence proves."""

from __future__ import annotations

import pytest
from grpc import StatusCode

from keepstate_server.domain.records import Consistency
from keepstate_server.stores.base import Absence, Failure, Stored, StoreEtag
from keepstate_server.stores.redis import RedisStore
from keepstate_server.stores.sidecar import BulkItem, SidecarError
from keepstate_server.stores.sql import SqlStore
from tests.unit.server.fake_sidecar import FakeSidecar
from tests.unit.server.stores.conftest import RAW, STRONG


async def test_one_key_is_read_by_a_single_read_with_its_consistency(sidecar: FakeSidecar, sql: SqlStore) -> None:
    sidecar.values["k"] = RAW
    assert await sql.read(["k"], consistency=Consistency.EVENTUAL, sure=False, timeout=1) == {"k": RAW}
    assert await sql.read(["none"], consistency=STRONG, sure=False, timeout=1) == {"none": Absence.CERTAIN}
    assert [(asked.call, asked.consistency) for asked in sidecar.asked] == [
        ("get", Consistency.EVENTUAL),
        ("get", Consistency.STRONG),
    ]


async def test_no_keys_are_read_by_no_call(sidecar: FakeSidecar, sql: SqlStore) -> None:
    assert await sql.read([], consistency=STRONG, sure=False, timeout=1) == {}
    assert sidecar.asked == []


async def test_several_keys_are_read_by_one_call_and_matched_by_key(sidecar: FakeSidecar, sql: SqlStore) -> None:
    sidecar.values.update(a=RAW, c=RAW)
    found = await sql.read(["a", "b", "c"], consistency=STRONG, sure=False, timeout=1)
    assert found == {"a": RAW, "b": Absence.LIKELY, "c": RAW}
    assert [asked.call for asked in sidecar.asked] == ["get_bulk"]


async def test_an_absence_is_certain_where_a_bulk_read_is_single_reads(sidecar: FakeSidecar, redis: RedisStore) -> None:
    found = await redis.read(["a", "b"], consistency=STRONG, sure=True, timeout=1)
    assert found == {"a": Absence.CERTAIN, "b": Absence.CERTAIN}
    assert [asked.call for asked in sidecar.asked] == ["get_bulk"]


async def test_who_must_be_sure_of_absences_reads_each_key_alone(sidecar: FakeSidecar, sql: SqlStore) -> None:
    keys = [f"k{number}" for number in range(100)]
    found = await sql.read(keys, consistency=STRONG, sure=True, timeout=1)
    assert found == dict.fromkeys(keys, Absence.CERTAIN)
    assert {asked.call for asked in sidecar.asked} == {"get"}


async def test_a_key_that_fails_fails_alone(sidecar: FakeSidecar, redis: RedisStore) -> None:
    sidecar.values.update(a=RAW)
    sidecar.bulk["b"] = BulkItem(stored=None, error="i/o timeout")
    found = await redis.read(["a", "b", "c"], consistency=STRONG, sure=False, timeout=1)
    assert found == {"a": RAW, "b": Failure(detail="i/o timeout"), "c": Absence.CERTAIN}


async def test_a_key_that_the_answer_leaves_out_is_no_certain_absence(sidecar: FakeSidecar, redis: RedisStore) -> None:
    sidecar.bulk["b"] = BulkItem(stored=None, error="left out")
    found = await redis.read(["a", "b"], consistency=STRONG, sure=False, timeout=1)
    assert found == {"a": Absence.CERTAIN, "b": Absence.LIKELY}


async def test_an_outage_fails_every_key(sidecar: FakeSidecar, sql: SqlStore) -> None:
    sidecar.fail("get_bulk", StatusCode.UNAVAILABLE, "Socket closed")
    found = await sql.read(["a", "b"], consistency=STRONG, sure=False, timeout=1)
    assert all(isinstance(each, Failure) for each in found.values())
    sidecar.fail("get", StatusCode.INTERNAL, "fail to get a from state store")
    assert isinstance((await sql.read(["a"], consistency=STRONG, sure=False, timeout=1))["a"], Failure)


@pytest.mark.parametrize("count", [2, 3, 7, 128])
async def test_an_answer_that_is_too_large_is_asked_for_in_parts(
    sidecar: FakeSidecar, sql: SqlStore, count: int
) -> None:
    keys = [f"k{number}" for number in range(count)]
    sidecar.values.update({key: Stored(data=bytes(100), etag=StoreEtag("1")) for key in keys})
    sidecar.message_limit = 250
    found = await sql.read(keys, consistency=STRONG, sure=False, timeout=1)
    assert list(found) == keys
    assert all(isinstance(each, Stored) for each in found.values())
    assert all(len(asked.keys) <= 2 for asked in sidecar.asked[-2:])


async def test_a_value_that_is_too_large_by_itself_fails_alone(sidecar: FakeSidecar, sql: SqlStore) -> None:
    sidecar.values.update({key: Stored(data=bytes(100), etag=StoreEtag("1")) for key in "abcd"})
    sidecar.values["c"] = Stored(data=bytes(1000), etag=StoreEtag("1"))
    sidecar.message_limit = 250
    too_large = "CLIENT: Received message larger than max (1000 vs. 250)"
    sidecar.succeed("get")
    original = sidecar.get

    async def get(store: str, key: str, *, consistency: Consistency, timeout: float) -> Stored | None:
        if key == "c":
            raise SidecarError(StatusCode.RESOURCE_EXHAUSTED, too_large)
        return await original(store, key, consistency=consistency, timeout=timeout)

    sidecar.get = get  # type: ignore[method-assign]
    found = await sql.read(["a", "b", "c", "d"], consistency=STRONG, sure=False, timeout=1)
    assert [type(each) for each in found.values()] == [Stored, Stored, Failure, Stored]


async def test_a_value_of_zero_bytes_is_no_absence(sidecar: FakeSidecar, sql: SqlStore) -> None:
    sidecar.values.update(a=Stored(data=b"", etag=StoreEtag("1")))
    found = await sql.read(["a", "b"], consistency=STRONG, sure=False, timeout=1)
    assert found["a"] == sidecar.values["a"]
