"""Promise 11, as far as the service keeps it by itself: a repeated request is answered as it was the first time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from keepstate.testing import MovableClock
from keepstate.v1 import record_pb2
from keepstate.v1 import state_service_pb2 as pb
from tests.contract.api import ABSENT, Api, Refused, again, if_etag

pytestmark = pytest.mark.promise(11)


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
    clock.advance(timedelta(seconds=30))
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
async def test_a_repeated_transaction_is_applied_once(
    api: Api, store: str, request_id: Callable[[], record_pb2.RequestId], another: Callable[[], Any]
) -> None:
    one, two, gone, request = api.key(), api.key(), api.key(), request_id()
    await api.put(gone)

    def parts() -> dict[str, Any]:
        return {
            "puts": [api.put_request(one, b"1", when=ABSENT), api.put_request(two, b"1")],
            "deletes": [api.delete_request(gone)],
        }

    first = await api.transact(**parts(), request=request)
    await api.put(two, b"somebody else's")
    assert await api.transact(**parts(), request=again(request)) == first
    async with another() as other:
        second = Api(other.channel, store, api.prefix)
        assert await second.transact(**parts(), request=again(again(request))) == first
    assert await api.value(two) == b"somebody else's"


@pytest.mark.promise(9)
async def test_a_refused_repeat_of_a_transaction_bars_the_first_attempt(
    api: Api, store: str, request_id: Callable[[], record_pb2.RequestId], another: Callable[[], Any]
) -> None:
    one, two, request = api.key(), api.key(), request_id()
    await api.put(one)

    def parts() -> dict[str, Any]:
        return {"puts": [api.put_request(one, b"1", when=ABSENT), api.put_request(two, b"1")]}

    async with another() as other:
        with pytest.raises(Refused) as refused:
            await Api(other.channel, store, api.prefix).transact(**parts(), request=again(request))
        assert refused.value.what == ("ALREADY_EXISTS", "RECORD_ALREADY_EXISTS")
    await api.delete(one)
    with pytest.raises(Refused) as refused:
        await api.transact(**parts(), request=request)
    assert refused.value.what == ("ALREADY_EXISTS", "RECORD_ALREADY_EXISTS")  # as the first answer
    assert await api.values(one, two) == [None, None]


@pytest.mark.promise(9)
async def test_attempts_at_a_transaction_that_run_side_by_side_apply_once(
    api: Api, store: str, request_id: Callable[[], record_pb2.RequestId], another: Callable[[], Any]
) -> None:
    async with another() as other:
        second = Api(other.channel, store, api.prefix)
        for _ in range(5):
            keys, request = [api.key(), api.key()], request_id()
            puts = [api.put_request(key, b"x") for key in keys]
            answers = await asyncio.gather(
                api.transact(puts=puts, request=request), second.transact(puts=puts, request=again(request))
            )
            etags = [(await api.get(key)).etag for key in keys]
            assert [[each.etag for each in answer.puts] for answer in answers] == [etags, etags]
