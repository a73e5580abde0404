"""Many records: batches, what splits into batches, and transactions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import pytest

from keepstate import (
    AlreadyExists,
    Bytes,
    Check,
    Client,
    Committed,
    Conflict,
    DecodeError,
    Delete,
    EncodeError,
    Get,
    InvalidArgument,
    NotFound,
    OutcomeUnknown,
    PartialFailure,
    Put,
    Record,
    RecordName,
    Text,
    Touch,
    Touched,
    Unavailable,
)
from keepstate.v1 import state_service_pb2 as pb
from tests.unit.client.fake_service import FakeService, refusal

DOWN = refusal(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", message="down")


@pytest.fixture
async def hasty(address: str) -> AsyncIterator[Client[Any]]:
    """A client that repeats nothing."""
    async with Client(address, retry=None) as client:
        yield client


def sizes(service: FakeService) -> list[int]:
    return [len(request.operations) for name, request in service.calls if name == "Batch"]


async def test_a_batch_answers_in_order_and_a_failure_is_a_value(state: Client[Any], service: FakeService) -> None:
    await state.put("a", 1)
    answers = await state.batch(
        [
            Get("a"),
            Get("missing"),
            Put("a", 2, if_absent=True),
            Put("b", "text", codec=Text(), ttl=timedelta(seconds=5)),
            Get("b"),
            Touch("missing", never=True),
            Touch("b", never=True),
            Delete("b"),
            Delete("b"),
            Get("a", namespace="n", store="redis"),
            Put("||", 1),
        ]
    )
    assert isinstance(answers[0], Record)
    assert answers[0].value == 1
    assert answers[1] is None
    assert isinstance(answers[2], AlreadyExists)
    assert isinstance(answers[3], str)
    assert isinstance(answers[4], DecodeError)
    assert isinstance(answers[5], NotFound)
    assert answers[6] == Touched(etag=answers[3], expire_time=None)
    assert answers[7:10] == [True, False, None]
    assert isinstance(answers[10], InvalidArgument)
    assert sizes(service) == [11]


async def test_the_writes_of_a_batch_are_requests_of_their_own(state: Client[Any], service: FakeService) -> None:
    await state.batch([Put("a", 1), Get("a"), Delete("a"), Touch("a", never=True)])
    operations = service.calls[-1][1].operations
    requests = [operations[0].put.request, operations[2].delete.request, operations[3].touch.request]
    assert [request.number for request in requests] == [1, 2, 3]


async def test_an_empty_batch_sends_nothing(state: Client[Any], service: FakeService) -> None:
    assert await state.batch([]) == []
    assert await state.get_many([]) == {}
    assert await state.put_many({}) == {}
    assert service.calls == []


async def test_a_batch_with_a_missing_answer_is_no_success(hasty: Client[Any], service: FakeService) -> None:
    async def nothing(request: Any, context: Any) -> Any:
        return pb.BatchResponse()

    service.script.append(nothing)
    with pytest.raises(OutcomeUnknown, match="0 results for 1 operations"):
        await hasty.batch([Put("a", 1)])


async def test_only_operations_of_a_batch_are_taken(state: Client[Any]) -> None:
    with pytest.raises(TypeError, match="a Check is not an operation of a batch"):
        await state.batch([Check("a", if_absent=True)])  # type: ignore[arg-type]


async def test_thousands_are_written_and_read_in_batches(state: Client[Any], service: FakeService) -> None:
    values = {f"k{i}": i for i in range(2_500)}
    etags = await state.put_many(values, ttl=timedelta(hours=1))
    assert list(etags) == list(values)
    assert sizes(service) == [1_000, 1_000, 500]
    assert await state.get_many([*values, "missing", "k1"]) == values
    assert sizes(service)[3:] == [1_000, 1_000, 501]


async def test_a_batch_is_bounded_in_bytes(state: Client[Any], service: FakeService) -> None:
    raw = state.using(Bytes())
    values = {f"k{i}": bytes(1 << 20) for i in range(20)}
    await raw.put_many(values)
    assert sizes(service) == [7, 7, 6]
    assert await raw.get_many(values) == values  # 20 MiB, more than a message may have: asked for again in halves


async def test_an_answer_too_large_is_asked_for_in_halves(state: Client[Any], service: FakeService) -> None:
    values = {f"k{i}": "x" * 100 for i in range(20)}
    await state.put_many(values)
    service.calls.clear()
    service.answer_limit = 1_000
    assert await state.get_many(values) == values
    assert sizes(service)[:3] == [20, 10, 5]


async def test_what_fails_in_many_hides_nothing(state: Client[Any]) -> None:
    await state.put("text", "x", codec=Text())
    await state.put("number", 1)
    with pytest.raises(PartialFailure, match="1 of 3 records failed, the first 'text': the record 'text'") as caught:
        await state.get_many(["text", "number", "missing"])
    assert set(caught.value.errors) == {"text"}
    assert caught.value.results == {"number": 1}
    with pytest.raises(PartialFailure) as partial:
        await state.put_many({"number": 2, "new": 3}, if_absent=True)
    assert isinstance(partial.value.errors["number"], AlreadyExists)
    assert await state.get_many(["number", "new"]) == {"number": 1, "new": 3}
    assert set(partial.value.results) == {"new"}


async def test_a_failed_batch_tells_what_was_done_and_what_was_not_sent(
    hasty: Client[Any], service: FakeService
) -> None:
    async def succeed(request: Any, context: Any) -> Any:
        return None

    service.script.extend([succeed, DOWN])
    values = {f"k{i}": i for i in range(2_500)}
    with pytest.raises(PartialFailure, match="1000 of 2500 records failed, 500 were not sent") as caught:
        await hasty.put_many(values)
    keys = list(values)
    assert list(caught.value.results) == keys[:1_000]
    assert list(caught.value.errors) == keys[1_000:2_000]
    assert isinstance(caught.value.errors["k1000"], Unavailable)
    assert caught.value.unsent == tuple(keys[2_000:])


async def test_where_nothing_was_done_the_error_is_the_plain_one(hasty: Client[Any], service: FakeService) -> None:
    service.script.append(DOWN)
    with pytest.raises(Unavailable):
        await hasty.put_many({"a": 1})


async def test_a_value_that_cannot_be_encoded_leaves_nothing_half_done(
    state: Client[Any], service: FakeService
) -> None:
    with pytest.raises(EncodeError, match="'bad'"):
        await state.put_many({**{f"k{i}": i for i in range(1_500)}, "bad": float("nan")})
    assert service.calls == []


async def test_a_transaction_is_one_request(state: Client[Any], service: FakeService) -> None:
    a = await state.put("a", 1)
    await state.put("old", 1)
    done = await state.transact(
        checks=[Check("a", if_etag=a), Check("none", if_absent=True)],
        puts=[Put("b", 2, ttl=timedelta(hours=1)), Put("c", 3, namespace="n")],
        deletes=[Delete("old"), Delete("older")],
    )
    assert done == Committed(puts=("v3", "v4"), deletes=(True, False))
    request = service.calls[-1][1]
    assert request.request.number == 3
    assert not any(part.HasField("request") for part in (*request.puts, *request.deletes))
    assert await state.namespace("n").get("c") == 3


async def test_a_failed_transaction_names_the_record(state: Client[Any]) -> None:
    etag = await state.put("a", 1)
    with pytest.raises(Conflict) as caught:
        await state.namespace("").transact(checks=[Check("a", if_etag="old")], puts=[Put("b", 1)])
    assert (caught.value.name, caught.value.etag) == (RecordName(key="a"), etag)
    assert await state.get("b") is None


def test_a_check_must_demand_something() -> None:
    with pytest.raises(ValueError, match="give one of if_absent, if_exists, if_etag"):
        Check("a")
