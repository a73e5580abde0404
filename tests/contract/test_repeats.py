"""Promise 11, as far as the service keeps it by itself: a repeated request is answered as it was the first time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from keepstate.v1 import record_pb2
from keepstate.v1 import state_service_pb2 as pb
from tests.contract.api import ABSENT, Api, Refused, if_etag
from tests.contract.conftest import MovableClock

pytestmark = pytest.mark.promise(11)

NUMBERS = itertools.count(1)
CLIENT = 0xFEDCBA9876543210


@pytest.fixture
def request_id(clock: MovableClock) -> Callable[..., record_pb2.RequestId]:
    def make() -> record_pb2.RequestId:
        sent = Timestamp()
        sent.FromMilliseconds(clock.now())
        return record_pb2.RequestId(client=CLIENT, number=next(NUMBERS), first_sent=sent)

    return make


def again(request: record_pb2.RequestId) -> record_pb2.RequestId:
    repeated = record_pb2.RequestId()
    repeated.CopyFrom(request)
    repeated.attempt += 1
    return repeated


async def test_a_repeat_gets_the_first_answer_and_applies_nothing(
    api: Api, store: str, request_id: Callable[[], record_pb2.RequestId], another: Callable[[], Any]
) -> None:
    key, request = api.key(), request_id()
    first = await api.put(key, b"mine", when=ABSENT, request=request)
    await api.put(key, b"somebody else's")
    assert await api.put(key, b"mine", when=ABSENT, request=again(request)) == first
    async with another() as other:
        assert (
            await Api(other.channel, store, api.prefix).put(key, b"mine", when=ABSENT, request=again(request)) == first
        )
    assert await api.value(key) == b"somebody else's"


async def test_a_repeated_delete_says_again_that_a_record_was_there(
    api: Api, request_id: Callable[[], record_pb2.RequestId]
) -> None:
    key, request = api.key(), request_id()
    await api.put(key)
    for attempt in (request, again(request), again(again(request))):
        message = pb.DeleteRequest(name=api.name(key), request=attempt)
        assert (await api.call(api.state.Delete(message, timeout=20))).existed is True
    await api.put(key, b"new life")
    message = pb.DeleteRequest(name=api.name(key), request=again(request))
    assert (await api.call(api.state.Delete(message, timeout=20))).existed is True
    assert await api.value(key) == b"new life"


async def test_a_refused_repeat_bars_the_first_attempt(
    api: Api, request_id: Callable[[], record_pb2.RequestId]
) -> None:
    """The repeat overtakes: it is refused, and the first attempt that arrives afterwards is refused too."""
    key, request = api.key(), request_id()
    stale = await api.put(key, b"1")
    current = await api.put(key, b"2")
    with pytest.raises(Refused) as refused:
        await api.put(key, when=if_etag(stale), request=again(request))
    assert refused.value.what == ("ABORTED", "ETAG_MISMATCH")
    with pytest.raises(Refused) as refused:
        await api.put(key, when=if_etag(current), request=request)
    assert refused.value.what == ("ABORTED", "ETAG_MISMATCH")
    assert await api.value(key) == b"2"


async def test_what_can_no_longer_be_told_is_said_to_be_unknown(
    api: Api, clock: MovableClock, request_id: Callable[[], record_pb2.RequestId]
) -> None:
    key, request = api.key(), request_id()
    await api.put(key, b"0")
    clock.pass_(timedelta(seconds=30))
    for number in range(20):
        await api.put(key, str(number).encode())
    with pytest.raises(Refused) as refused:
        await api.put(key, b"late", request=again(request))
    assert refused.value.what == ("UNKNOWN", "OUTCOME_UNKNOWN")
    assert await api.value(key) == b"19"


async def test_attempts_that_run_side_by_side_apply_once(
    api: Api, store: str, request_id: Callable[[], record_pb2.RequestId], another: Callable[[], Any]
) -> None:
    async with another() as other:
        second = Api(other.channel, store, api.prefix)
        for _ in range(10):
            key, request = api.key(), request_id()
            etags = await asyncio.gather(
                api.put(key, b"x", request=request), second.put(key, b"x", request=again(request))
            )
            assert etags[0] == etags[1] == (await api.get(key)).etag


@pytest.mark.promise(9)
async def test_a_repeated_transaction_is_applied_once(api: Api, request_id: Callable[[], record_pb2.RequestId]) -> None:
    one, other, gone, request = api.key(), api.key(), api.key(), request_id()
    await api.put(gone)

    def parts() -> dict[str, Any]:
        return {
            "puts": [api.put_request(one, b"1", when=ABSENT), api.put_request(other, b"1")],
            "deletes": [pb.DeleteRequest(name=api.name(gone))],
        }

    first = await api.transact(**parts(), request=request)
    await api.put(other, b"somebody else's")
    assert await api.transact(**parts(), request=again(request)) == first
    assert await api.value(other) == b"somebody else's"
    refused_request = request_id()
    with pytest.raises(Refused) as refused:
        await api.transact(**parts(), request=again(refused_request))
    assert refused.value.what == ("ALREADY_EXISTS", "RECORD_ALREADY_EXISTS")
    await api.delete(one)
    with pytest.raises(Refused) as refused:
        await api.transact(**parts(), request=refused_request)
    assert refused.value.code.name == "ABORTED"
    assert await api.value(one) is None
