"""Changes that the service makes: what is sent, and what comes back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from keepstate import (
    AlreadyExists,
    Append,
    Bytes,
    Client,
    Committed,
    Conflict,
    EncodeError,
    Increment,
    KeepstateError,
    MergePatch,
    NotFound,
    Put,
    RecordName,
    Update,
    Updated,
    UpdateNotApplicable,
)
from keepstate._status import error_of_status
from keepstate.v1 import state_service_pb2 as pb
from tests.unit.client.fake_service import FakeService, refusal


async def test_an_increment_returns_the_new_number(state: Client[Any], service: FakeService) -> None:
    assert await state.increment("hits") == 1
    assert await state.increment("hits", 41) == 42
    assert await state.increment("stock", -1, initial=10, minimum=0, maximum=10) == 9
    assert service.calls[0][1].increment == pb.Increment(delta=1)
    assert service.calls[2][1].increment == pb.Increment(delta=-1, initial=10, minimum=0, maximum=10)
    assert await state.get("hits") == 42


async def test_a_bound_of_zero_is_a_bound(state: Client[Any]) -> None:
    with pytest.raises(UpdateNotApplicable, match="less than the minimum"):
        await state.increment("stock", -1, minimum=0)
    with pytest.raises(UpdateNotApplicable, match="more than the maximum"):
        await state.increment("debt", 1, maximum=0)


async def test_an_append_returns_the_new_list(state: Client[Any], service: FakeService) -> None:
    assert await state.append("log", [{"a": 1}, "two"]) == [{"a": 1}, "two"]
    assert await state.append("log", (3, None), max_length=3) == ["two", 3, None]
    assert service.calls[0][1].append == pb.Append(items=[b'{"a":1}', b'"two"'])


async def test_a_merge_patch_returns_the_new_value(state: Client[Any]) -> None:
    assert await state.merge_patch("user", {"name": "Ada", "age": 36}) == {"name": "Ada", "age": 36}
    assert await state.merge_patch("user", {"age": None}) == {"name": "Ada"}


@pytest.mark.parametrize("update", [Increment("a"), Append("a", [1]), MergePatch("a", {"b": 1})], ids=repr)
async def test_an_update_returns_the_record(state: Client[Any], update: Update[Any]) -> None:
    """Also through a view whose codec would not read it as JSON."""
    updated = await state.using(Bytes()).update(update)
    assert not updated.repeated
    assert updated.record == await state.get_record("a")


async def test_updates_take_conditions_and_expiry(state: Client[Any], service: FakeService) -> None:
    later = datetime(2100, 1, 1, tzinfo=UTC)
    first = await state.update(Increment("a", if_absent=True, ttl=timedelta(hours=1)))
    assert first.record
    assert first.record.expire_time
    with pytest.raises(AlreadyExists):
        await state.increment("a", if_absent=True)
    second = await state.update(Increment("a", if_etag=first.record.etag, keep_expiry=True))
    assert second.record
    assert second.record.expire_time == first.record.expire_time
    with pytest.raises(Conflict):
        await state.merge_patch("a", {}, if_etag=first.record.etag)
    with pytest.raises(NotFound):
        await state.append("b", [1], if_exists=True)
    await state.append("b", [1], expire_at=later)
    assert (await state.get_record("b")).expire_time == later  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="give only one of ttl, keep_expiry"):
        await state.merge_patch("a", {}, ttl=timedelta(1), keep_expiry=True)


async def test_an_update_whose_answer_was_lost_is_applied_once_and_says_so(
    state: Client[Any], service: FakeService, pauses: list[float]
) -> None:
    service.lose_replies()
    assert await state.increment("a") == 1
    service.lose_replies()
    updated = await state.update(Increment("a"))
    assert updated.repeated
    assert updated.record
    assert updated.record.value == 2
    assert [request.request.attempt for _, request in service.calls] == [0, 1, 0, 1]


async def test_a_repeated_update_may_find_its_record_gone(
    state: Client[Any], service: FakeService, pauses: list[float]
) -> None:
    async def gone(request: Any, context: Any) -> Any:
        return pb.UpdateResponse(repeated=True)

    service.script.append(gone)
    assert await state.update(Increment("a")) == Updated(record=None, repeated=True)
    service.script.append(gone)
    with pytest.raises(NotFound, match="was applied, and the record has gone since: 'a'"):
        await state.namespace("n").increment("a")


async def test_updates_in_a_batch_and_a_transaction(state: Client[Any], service: FakeService) -> None:
    await state.put("text", "x")
    number, text, items = await state.batch([Increment("a", 5), Append("text", [1], if_absent=True), Append("b", [1])])
    assert isinstance(number, Updated)
    assert number.record
    assert number.record.value == 5
    assert isinstance(text, AlreadyExists)
    assert not isinstance(items, KeepstateError)
    assert [each.update.request.number for each in service.calls[-1][1].operations] == [2, 3, 4]
    done = await state.transact(puts=[Put("c", 1)], updates=[Increment("a"), MergePatch("d", {"x": 1})])
    assert isinstance(done, Committed)
    assert [each.record.value for each in done.updates if each.record] == [6, {"x": 1}]
    assert not any(each.HasField("request") for each in service.calls[-1][1].updates)


async def test_what_json_cannot_say_is_not_sent(state: Client[Any], service: FakeService) -> None:
    with pytest.raises(EncodeError, match="'a'"):
        await state.append("a", [1, float("nan")])
    with pytest.raises(EncodeError, match="'a'"):
        await state.merge_patch("a", {1, 2})
    assert service.calls == []


def test_updates_refuse_what_is_wrong_when_they_are_made() -> None:
    with pytest.raises(TypeError, match="items must be a list or a tuple, not a str"):
        Append("a", "text")
    with pytest.raises(ValueError, match="max_length must be at least 1, not 0"):
        Append("a", [], max_length=0)
    with pytest.raises(TypeError, match="delta must be an int, not a float"):
        Increment("a", 1.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="minimum must be an int, not a bool"):
        Increment("a", minimum=True)
    with pytest.raises(ValueError, match="maximum must be a number of 64 bits"):
        Increment("a", maximum=2**63)


async def test_only_updates_are_taken_for_updates(state: Client[Any]) -> None:
    with pytest.raises(TypeError, match="a Update is not an update"):
        await state.update(Update("a"))


def test_the_record_that_an_update_does_not_fit_is_named() -> None:
    about = {"store": "redis", "namespace": "", "key": "a"}
    status = refusal(grpc.StatusCode.FAILED_PRECONDITION, "UPDATE_NOT_APPLICABLE", metadata=about)
    error = error_of_status(status, writes=True)
    assert isinstance(error, UpdateNotApplicable)
    assert error.name == RecordName(store="redis", key="a")
