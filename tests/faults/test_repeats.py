"""Redis paused and killed in the middle of every kind of write; the caller gives up; a repeat tells the truth (11).

All kinds of writes are held at their nth call of the sidecar, then Redis goes, then they go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from keepstate.v1 import record_pb2
from keepstate_server.domain.times import SystemClock
from keepstate_server.stores.address import SidecarAddress
from tests.contract.api import Api, Refused, again, new_request
from tests.contract.conftest import Backend, running_service
from tests.faults.kinds import KINDS, Kind
from tests.support.servers import DaprContainer, RedisContainer
from tests.support.sidecar_proxy import Lost, SidecarProxy

UNDECIDED = {"STORE_UNAVAILABLE", "OUTCOME_UNKNOWN", "DEADLINE_EXCEEDED"}


@dataclass(frozen=True, kw_only=True)
class First:
    """The first attempt at one write, through an instance of its own, which may be held at a call of the sidecar."""

    kind: Kind
    instance: Backend
    key: str
    etag: str
    request: record_pb2.RequestId
    held: asyncio.Event
    call: asyncio.Task[Any]

    async def has_come(self) -> bool:
        """Waits until it is held, or over; returns whether it is held."""
        held = asyncio.ensure_future(self.held.wait())
        await asyncio.wait({held, self.call}, return_when=asyncio.FIRST_COMPLETED)
        if not self.held.is_set():
            await self.end()  # what it does after its answer may yet come to the call
        held.cancel()
        return self.held.is_set()

    async def end(self) -> None:
        """Waits until nothing that was begun goes on any more, caller or not, or it is held."""
        assert self.instance.service._backing
        rest = asyncio.ensure_future(self.instance.service._backing.engine.drain(timeout=30))
        held = asyncio.ensure_future(self.held.wait())
        await asyncio.wait({held, rest}, return_when=asyncio.FIRST_COMPLETED)
        rest.cancel()
        held.cancel()


@pytest.fixture
async def instances(sidecar: DaprContainer) -> AsyncIterator[dict[str, tuple[Backend, SidecarProxy]]]:
    """An instance for each kind of write, behind a proxy."""
    async with AsyncExitStack() as stack:
        found = {}
        for name in KINDS:
            proxy = await stack.enter_async_context(SidecarProxy(sidecar.grpc_target))
            address = SidecarAddress(grpc=proxy.address, http=sidecar.http_endpoint)
            found[name] = await stack.enter_async_context(running_service(address, probe=False)), proxy
        yield found


@pytest.mark.parametrize("moment", range(1, 7))
@pytest.mark.parametrize("fault", ["paused", "paused for longer than the sidecar waits", "killed"])
async def test_a_repeat_tells_what_became_of_the_write(
    api: Api, redis: RedisContainer, instances: dict[str, tuple[Backend, SidecarProxy]], fault: str, moment: int
) -> None:
    """Paused before it gets the call, or killed when it has answered it: the answer is lost."""
    paused, gone = fault != "killed", asyncio.Event()
    attempts = []
    for name, (instance, proxy) in instances.items():
        held = asyncio.Event()
        key, etag = await _prepared(instance, api.key(name))

        async def hold(held: asyncio.Event = held) -> None:
            held.set()
            await gone.wait()
            if not paused:
                raise Lost

        proxy.forget()
        (proxy.before if paused else proxy.after)[moment] = hold
        request = new_request(SystemClock().now())
        call = asyncio.ensure_future(KINDS[name].send(_through(instance), key, etag, request, 20))
        attempts.append(
            First(kind=KINDS[name], instance=instance, key=key, etag=etag, request=request, held=held, call=call)
        )
    assert any(await asyncio.gather(*(each.has_come() for each in attempts))), "no write takes so many calls"
    await asyncio.to_thread(redis.pause if paused else redis.kill)
    gone.set()
    unanswered = [each for each in attempts if not each.call.done()]
    assert unanswered or moment > 4, "nobody was in the middle of a write"
    await asyncio.sleep(1 if fault != "paused for longer than the sidecar waits" else 4)
    for each in unanswered:
        each.call.cancel()  # the caller gives up
    await asyncio.to_thread(redis.unpause if paused else redis.start)
    await asyncio.gather(*(_is_told_the_truth(each, api) for each in attempts))


async def _prepared(instance: Backend, key: str) -> tuple[str, str]:
    """Writes what a kind of write finds, through the instance that is to perform it, so that it knows the record."""
    api = _through(instance)
    await api.put(f"{key}:2")
    await api.delete(f"{key}:2")
    await api.put(f"{key}:3", b"5")
    return key, await api.put(key, b"5")


async def _is_told_the_truth(first: First, api: Api) -> None:
    """Repeats the write through another instance, beside the first attempt, and then through its own."""
    answer, request = await _told(first, api, first.request)
    assert await _values(api, first.key) == list(first.kind.values)
    if first.call.done() and not first.call.cancelled() and not first.call.exception():
        assert first.call.result() == answer
    first.held.clear()
    await first.end()
    assert await _values(api, first.key) == list(first.kind.values), "the first attempt was applied on top"
    await api.put(first.key, b"somebody else's")
    assert (await _told(first, _through(first.instance), request))[0] == answer
    assert await _values(api, first.key) == [b"somebody else's", *first.kind.values[1:]]


async def _told(first: First, api: Api, request: record_pb2.RequestId) -> tuple[Any, record_pb2.RequestId]:
    """Repeats a write until it is answered; returns the answer and the request as it was sent last."""
    async with asyncio.timeout(60):
        while True:
            request = again(request)
            try:
                return await first.kind.send(api, first.key, first.etag, request, 20), request
            except Refused as refused:
                assert refused.reason in UNDECIDED, refused
                await asyncio.sleep(0.1)


def _through(instance: Backend) -> Api:
    return Api(instance.channel, "redis", "")


async def _values(api: Api, key: str) -> list[bytes | None]:
    return await api.values(key, f"{key}:2", f"{key}:3")
