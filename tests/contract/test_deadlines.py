"""Promises 10 and 14: consistency and deadlines, and what every answer carries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from keepstate.testing import MovableClock
from keepstate.v1 import record_pb2
from keepstate.v1 import state_service_pb2 as pb
from tests.contract.api import Api, Refused, if_etag
from tests.contract.conftest import Backend, running_service


@pytest.mark.promise(10)
@pytest.mark.parametrize("consistency", record_pb2.Consistency.values())
async def test_a_write_is_read_with_any_consistency(api: Api, consistency: record_pb2.Consistency.ValueType) -> None:
    key = api.key()
    message = api.put_request(key)
    message.consistency = consistency
    etag = (await api.call(api.state.Put(message))).etag
    got = await api.call(api.state.Get(pb.GetRequest(name=api.name(key), consistency=consistency)))
    assert got.record.etag == etag


@pytest.mark.promise(10)
async def test_what_one_instance_wrote_another_reads_at_once(api: Api, store: str, another: Callable[[], Any]) -> None:
    async with another() as other:
        second = Api(other.channel, store, api.prefix)
        key = api.key()
        for number in range(30):
            writer, reader = (api, second) if number % 2 else (second, api)
            etag = await writer.put(key, str(number).encode())
            record = await reader.get(key)
            assert (record.value, record.etag) == (str(number).encode(), etag)


@pytest.mark.promise(14)
async def test_a_caller_that_goes_away_leaves_a_whole_write_or_none(api: Api) -> None:
    """Callers give up at all moments; what stands afterwards is one of the values, and writable."""
    key = api.key()
    held = await api.put(key, b"0")
    for number in range(1, 40):
        call = api.state.Put(api.put_request(key, str(number).encode() * 1000, when=if_etag(held)))
        await asyncio.sleep(number * 0.0002)  # the moment is what the case varies
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        record = await api.get(key)
        assert record.value in {str(each).encode() * 1000 for each in range(number + 1)} | {b"0"}
        held = record.etag
    # Without a condition: the write of the last that went away may still be on its way, and come before this one.
    await api.put(key, b"last")
    assert await api.value(key) == b"last"


@pytest.mark.promise(13)
async def test_every_answer_tells_the_services_time(api: Api, clock: MovableClock) -> None:
    key = api.key()
    answers: list[Any] = [
        api.state.Put(api.put_request(key)),
        api.state.Get(pb.GetRequest(name=api.name("missing"))),
    ]
    for call in answers:
        await asyncio.gather(call, return_exceptions=True)
        told = (await call.trailing_metadata())["keepstate-time"]
        moment = datetime.fromisoformat(str(told))
        assert moment.tzinfo == UTC
        assert abs(moment.timestamp() * 1000 - clock.now()) < 20_000


@pytest.mark.promise(13)
async def test_too_many_calls_at_once_are_told_when_to_come_again(backend: Backend, store: str) -> None:
    async with running_service(backend.address, concurrent_calls=2) as small:
        api = Api(small.channel, store, "crowd")
        results = await asyncio.gather(*(api.put(api.key()) for _ in range(50)), return_exceptions=True)
        refused = [each for each in results if isinstance(each, Refused)]
        assert {each.what for each in refused} == {("RESOURCE_EXHAUSTED", "OVERLOADED")}
        assert all(each.retry_after and each.metadata["nothing_sent"] == "true" for each in refused)
        assert sum(isinstance(each, str) for each in results) >= 2
        await api.put(api.key())


@pytest.mark.promise(13)
async def test_the_callers_correlation_id_comes_back(api: Api) -> None:
    call = api.state.Put(api.put_request(api.key()), metadata=(("x-correlation-id", "order-17"),))
    await call
    assert (await call.trailing_metadata())["x-correlation-id"] == "order-17"
