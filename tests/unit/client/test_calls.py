"""How the service is called: deadlines, requests, the service's clock, the channel's life."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import pytest

from keepstate import (
    Cancelled,
    Client,
    Conflict,
    DeadlineExceeded,
    OutcomeUnknown,
    ResourceExhausted,
    Unavailable,
)
from tests.unit.client.fake_service import FakeService

CODE = grpc.StatusCode


async def test_nobody_there_is_unavailable_and_nothing_sent(pauses: list[float]) -> None:
    async with Client("localhost:1", timeout=timedelta(milliseconds=500)) as state:
        with pytest.raises(Unavailable) as caught:
            await state.put("a", 1)
    assert caught.value.nothing_sent


async def test_a_read_past_its_deadline(state: Client[Any], hanging: asyncio.Event) -> None:
    with pytest.raises(DeadlineExceeded):
        await state.get("a", timeout=timedelta(milliseconds=50))


async def test_a_write_past_its_deadline_may_have_been_applied(address: str, hanging: asyncio.Event) -> None:
    async with Client(address, timeout=timedelta(milliseconds=50)) as state:
        with pytest.raises(OutcomeUnknown) as caught:
            await state.put("a", 1)
    assert caught.value.code is CODE.DEADLINE_EXCEEDED


@pytest.mark.parametrize(("given", "least", "most"), [(None, 6, 7), (timedelta(seconds=2), 1.5, 2.5)])
async def test_the_deadline_reaches_the_service(
    state: Client[Any], service: FakeService, given: timedelta | None, least: float, most: float
) -> None:
    left: list[float] = []

    async def note(request: Any, context: Any) -> None:
        left.append(context.time_remaining())

    service.script.append(note)
    await state.get("a", timeout=given)
    assert least < left[0] < most


async def test_a_deadline_is_a_timedelta(state: Client[Any]) -> None:
    with pytest.raises(TypeError, match="timeout must be a timedelta, not a int"):
        await state.get("a", timeout=3)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="timeout must be a timedelta"):
        Client(timeout=3)  # type: ignore[call-overload]


async def test_every_write_is_a_request_of_its_own(address: str, state: Client[Any], service: FakeService) -> None:
    service.clock = lambda: 1_800_000_000.0
    await state.get("a")  # tells the service's time
    await state.put("a", 1)
    await state.namespace("n").put("a", 1)
    await state.delete("a")
    requests = [request.request for name, request in service.calls if name != "Get"]
    assert [request.number for request in requests] == [1, 2, 3]
    assert [request.attempt for request in requests] == [0, 0, 0]
    assert len({request.client for request in requests}) == 1
    assert all(abs(request.first_sent.ToNanoseconds() / 1e9 - 1_800_000_000) < 5 for request in requests)
    async with Client(address) as other:
        await other.put("a", 1)
    assert service.calls[-1][1].request.client not in (0, requests[0].client)


async def test_the_first_write_already_carries_the_services_time(state: Client[Any], service: FakeService) -> None:
    """With a clock of its own it would be refused as from the future, or taken for an old request."""
    service.clock = lambda: 1_900_000_000.0
    await state.put("a", 1)
    (_, request), *_ = service.calls
    assert abs(request.request.first_sent.ToNanoseconds() / 1e9 - 1_900_000_000) < 5


async def test_a_failure_tells_the_services_time_too(state: Client[Any], service: FakeService) -> None:
    await state.put("a", 1)
    service.clock = lambda: 1_900_000_000.0  # another instance answers, say
    with pytest.raises(Conflict):
        await state.put("a", 1, if_etag="none")
    await state.put("a", 1)
    _, second, third = (request.request.first_sent.seconds for _, request in service.calls)
    assert second < 1_900_000_000 <= third + 5


async def test_the_writes_of_a_batch_carry_the_time_of_its_sending(state: Client[Any], service: FakeService) -> None:
    service.clock = lambda: 1_900_000_000.0
    await state.put_many({f"k{number}": number for number in range(3)})
    (_, batch), *_ = service.calls
    stamps = {each.put.request.first_sent.ToNanoseconds() for each in batch.operations}
    assert len(stamps) == 1
    assert abs(stamps.pop() / 1e9 - 1_900_000_000) < 5


async def test_a_closed_client_says_so(address: str) -> None:
    async with Client(address) as state:
        await state.put("a", 1)
    with pytest.raises(RuntimeError, match="the client is closed"):
        await state.get("a")
    await state.close()


async def test_closing_cuts_reads_and_writes_short(address: str, hanging: asyncio.Event, service: FakeService) -> None:
    state = Client(address)
    read = asyncio.create_task(state.get("a"))
    await hanging.wait()
    await state.close()
    with pytest.raises(Cancelled):
        await read


async def test_a_write_cut_short_by_closing_may_have_been_applied(address: str, hanging: asyncio.Event) -> None:
    state = Client(address)
    write = asyncio.create_task(state.put("a", 1))
    await hanging.wait()
    await state.close()
    with pytest.raises(OutcomeUnknown):
        await write


async def test_a_cancelled_task_is_cancelled(state: Client[Any], hanging: asyncio.Event) -> None:
    task = asyncio.create_task(state.get("a"))
    await hanging.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_making_a_client_needs_no_event_loop() -> None:
    Client("localhost:7400").namespace("n").store("s")


@pytest.mark.parametrize("address", ["http://localhost:7400", "https://localhost:7400", "dns:///localhost:7400"])
def test_an_address_has_no_scheme(address: str) -> None:
    with pytest.raises(ValueError, match="without a scheme"):
        Client(address)


@pytest.mark.parametrize(
    "address",
    ["", "localhost", "[::1]", "::1", "localhost:", "localhost:http", "localhost:0", "localhost:65536", ":7400"],
)
def test_an_address_has_a_host_and_a_port(address: str) -> None:
    with pytest.raises(ValueError, match="address must be host:port"):
        Client(address)


@pytest.mark.parametrize("address", ["keepstate_1.local:7400", "192.168.0.1:1", "[fe80::1]:65535"])
def test_names_and_numbers_are_addresses(address: str) -> None:
    Client(address)


async def test_messages_up_to_16_mib_pass(state: Client[Any], service: FakeService) -> None:
    text = "x" * (15 << 20)
    await state.put("a", text)
    assert await state.get("a") == text
    with pytest.raises(ResourceExhausted) as caught:
        await state.put("a", text + "x" * (2 << 20))
    assert caught.value.nothing_sent


@pytest.fixture
async def silent() -> AsyncIterator[str]:
    """The address of a service that takes connections and never says a word."""
    over = asyncio.Event()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_server(accept, "localhost", 0)
    yield f"localhost:{server.sockets[0].getsockname()[1]}"
    over.set()
    server.close()
    await server.wait_closed()


async def test_a_write_whose_time_is_up_before_it_is_sent_was_not_sent(silent: str) -> None:
    async with Client(silent) as state:
        with pytest.raises(DeadlineExceeded) as late:
            await state.put("a", 1, timeout=timedelta(milliseconds=100))
        assert late.value.nothing_sent


async def test_a_first_write_waits_no_longer_than_its_own_time_for_what_another_asks(silent: str) -> None:
    async with Client(silent) as state:
        patient = asyncio.create_task(state.put("a", 1, timeout=timedelta(seconds=60)))
        async with asyncio.timeout(10):
            for number in range(2):
                with pytest.raises(DeadlineExceeded) as late:
                    await state.put(f"b{number}", 1, timeout=timedelta(milliseconds=100))
                assert late.value.nothing_sent
        assert not patient.done()
        patient.cancel()
        await asyncio.wait([patient])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the monotonic clock is all there is")
async def test_a_write_after_the_machine_was_suspended_is_not_taken_for_an_old_one(
    state: Client[Any], service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await state.put("a", 1)
    suspended, tell = 600, time.clock_gettime  # the monotonic clock stood still so long
    monkeypatch.setattr(time, "clock_gettime", lambda clock: tell(clock) + suspended)
    service.clock = lambda: time.time() + suspended
    await state.put("a", 2)
    first_sent = service.calls[-1][1].request.first_sent.ToNanoseconds() / 1e9
    assert abs(first_sent - service.clock()) < 5


async def test_the_services_time_is_asked_for_once(state: Client[Any], service: FakeService) -> None:
    service.clock = lambda: 1_900_000_000.0
    for _ in range(2):
        assert abs((await state.now()).timestamp() - 1_900_000_000) < 5
    assert [name for name, _ in service.calls] == ["ListStores"]
