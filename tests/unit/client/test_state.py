"""What a view does with single records."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import grpc
import pytest

from keepstate import (
    AlreadyExists,
    Bytes,
    Client,
    Conflict,
    Consistency,
    Delete,
    Finding,
    Keeping,
    NotFound,
    Promise,
    Put,
    Record,
    RecordName,
    StoreNotFound,
    Touch,
    Touched,
    Verdict,
)
from keepstate.v1 import record_pb2
from tests.unit.client.fake_service import FakeService, refusal

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def fixed_clock(service: FakeService) -> None:
    service.clock = NOW.timestamp


async def test_what_is_put_is_read(state: Client[Any]) -> None:
    etag = await state.put("user:7", {"name": "Ada"}, ttl=timedelta(hours=1))
    assert await state.get("user:7") == {"name": "Ada"}
    assert await state.get_record("user:7") == Record(
        name=RecordName(store="memory", key="user:7"),
        value={"name": "Ada"},
        content_type="application/json",
        etag=etag,
        create_time=NOW,
        update_time=NOW,
        expire_time=NOW + timedelta(hours=1),
    )


async def test_a_missing_record_is_none_or_the_default(state: Client[Any]) -> None:
    assert await state.get("a") is None
    assert await state.get("a", default=0) == 0
    assert await state.get_record("a") is None


@pytest.mark.parametrize("value", [0, "", [], False, None, b""], ids=repr)
async def test_an_empty_value_is_there(state: Client[Any], value: object) -> None:
    codec = Bytes() if value == b"" else None
    await state.put("a", value, codec=codec)
    assert await state.get("a", codec=codec, default="missing") == value  # type: ignore[arg-type]


async def test_not_found_of_anything_but_a_record_is_an_error(state: Client[Any], service: FakeService) -> None:
    service.script.append(refusal(grpc.StatusCode.NOT_FOUND, message="no route"))
    with pytest.raises(NotFound, match="no route"):
        await state.get("a")


async def test_preconditions(state: Client[Any]) -> None:
    with pytest.raises(NotFound):
        await state.put("a", 1, if_exists=True)
    first = await state.put("a", 1, if_absent=True)
    with pytest.raises(AlreadyExists) as exists:
        await state.put("a", 2, if_absent=True)
    assert exists.value.etag == first
    second = await state.put("a", 2, if_etag=first)
    with pytest.raises(Conflict) as conflict:
        await state.put("a", 3, if_etag=first)
    assert conflict.value.etag == second
    with pytest.raises(Conflict):
        await state.delete("a", if_etag=first)
    assert await state.delete("a", if_etag=second)
    with pytest.raises(Conflict) as gone:
        await state.put("a", 3, if_etag=second)
    assert gone.value.etag is None
    with pytest.raises(NotFound):
        await state.delete("a", if_exists=True)


async def test_a_delete_says_whether_the_record_was_there(state: Client[Any]) -> None:
    await state.put("a", 1)
    assert [await state.delete("a"), await state.delete("a")] == [True, False]


async def test_a_touch_moves_the_expiry_alone(state: Client[Any], service: FakeService) -> None:
    etag = await state.put("a", 1)
    later = NOW + timedelta(days=1)
    assert await state.touch("a", ttl=timedelta(days=1)) == Touched(etag=etag, expire_time=later)
    local = later.astimezone(timezone(timedelta(hours=5)))
    assert await state.touch("a", expire_at=local) == Touched(etag=etag, expire_time=later)
    assert await state.touch("a", never=True, if_etag=etag) == Touched(etag=etag, expire_time=None)
    with pytest.raises(NotFound):
        await state.touch("b", ttl=timedelta(seconds=1))


async def test_expiry_is_set_kept_and_cleared(state: Client[Any], service: FakeService) -> None:
    async def expiry() -> datetime | None:
        record = await state.get_record("a")
        assert record is not None
        return record.expire_time

    await state.put("a", 1, expire_at=NOW + timedelta(hours=1))
    await state.put("a", 2, keep_expiry=True)
    assert await expiry() == NOW + timedelta(hours=1)
    await state.get("a", slide_ttl=timedelta(hours=2))
    assert await expiry() == NOW + timedelta(hours=2)
    await state.put("a", 3)
    assert await expiry() is None


async def test_views_combine_and_share_the_channel(state: Client[Any], service: FakeService) -> None:
    view = state.namespace("chat").store("redis")
    await view.put("a", 1)
    assert set(service.records) == {("redis", "chat", "a")}
    assert await state.store("redis").namespace("chat").get("a") == 1
    assert await state.get("a") is None
    assert await view.namespace("").store("").get("a") is None
    record = await view.get_record("a")
    assert record is not None
    assert record.name == RecordName(store="redis", namespace="chat", key="a")


async def test_a_client_may_begin_in_a_namespace_and_store(address: str, service: FakeService) -> None:
    async with Client(address, namespace="chat", store="redis") as state:
        await state.put("a", 1)
    assert set(service.records) == {("redis", "chat", "a")}


async def test_consistency_is_passed_on(state: Client[Any], service: FakeService) -> None:
    for consistency, number in (
        (Consistency.STRONG, record_pb2.CONSISTENCY_STRONG),
        (Consistency.EVENTUAL, record_pb2.CONSISTENCY_EVENTUAL),
    ):
        await state.put("a", 1, consistency=consistency)
        await state.get("a", consistency=consistency)
        await state.touch("a", never=True, consistency=consistency)
        await state.delete("a", consistency=consistency)
        assert [request.consistency for _, request in service.calls[-4:]] == [number] * 4


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"if_absent": True, "if_exists": True}, "if_absent, if_exists"),
        ({"if_exists": True, "if_etag": "e"}, "if_exists, if_etag"),
        ({"ttl": timedelta(1), "keep_expiry": True}, "ttl, keep_expiry"),
        ({"ttl": timedelta(1), "expire_at": NOW}, "ttl, expire_at"),
        ({"expire_at": NOW.replace(tzinfo=None)}, "aware"),
    ],
)
async def test_arguments_that_exclude_each_other_are_refused(
    state: Client[Any], service: FakeService, arguments: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        await state.put("a", 1, **arguments)
    assert service.calls == []


def test_operations_refuse_them_when_they_are_made() -> None:
    with pytest.raises(ValueError, match="if_exists, if_etag"):
        Delete("a", if_exists=True, if_etag="e")
    with pytest.raises(ValueError, match="give one of ttl, expire_at, never"):
        Touch("a")
    with pytest.raises(TypeError, match="ttl must be a timedelta, not a int"):
        Put("a", 1, ttl=60)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expire_at must be a datetime, not a float"):
        Put("a", 1, expire_at=1.5)  # type: ignore[arg-type]


async def test_stores_say_what_they_promise(state: Client[Any]) -> None:
    assert [store.name for store in await state.stores()] == ["memory", "redis"]
    assert (await state.store_info()).is_default
    redis = await state.store("redis").store_info()
    assert (redis.component_type, redis.component_version, redis.is_default) == ("state.redis", "v1", False)
    assert redis.promises == (
        Promise(number=1, title="existence", keeping=Keeping.NATIVE),
        Promise(number=9, title="transaction", keeping=Keeping.REFUSED, reason="no rollback"),
    )
    with pytest.raises(StoreNotFound):
        await state.store("nowhere").store_info()


async def test_a_probe_says_what_was_seen_and_what_it_means(state: Client[Any]) -> None:
    probe = await state.probe()
    assert (probe.store.name, probe.satisfied) == ("memory", True)
    assert probe.findings[0] == Finding(
        name="compare-and-set",
        seen="yes",
        expected="yes",
        verdict=Verdict.KEPT,
        detail="of two one won",
        consequence="",
        duration=timedelta(seconds=1.5),
    )
    assert [each.verdict for each in probe.findings] == [Verdict.KEPT, Verdict.MENDED, Verdict.NOT_SEEN]
    lacking = await state.store("redis").probe(timeout=timedelta(seconds=5))
    assert (lacking.findings[0].verdict, lacking.satisfied) == (Verdict.MISSING, False)
    with pytest.raises(StoreNotFound):
        await state.store("nowhere").probe()
