"""The service in a test's own process."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest

from keepstate import AlreadyExists, Client, sync
from keepstate.testing import KeepstateService, MovableClock

HOUR = timedelta(hours=1)


def test_each_start_begins_with_an_empty_store() -> None:
    service = KeepstateService()
    for _ in range(2):
        with service, sync.Client(service.address) as state:
            assert state.get("greeting") is None
            state.put("greeting", "hello")


async def test_it_is_called_from_any_loop_while_it_runs() -> None:
    async def count(address: str) -> int:
        async with Client(address) as state:
            return await state.increment("count")

    async with KeepstateService() as service:
        counted = [await count(service.address)]
        counted += [await asyncio.to_thread(asyncio.run, count(service.address)) for _ in range(3)]
    assert counted == [1, 2, 3, 4]


async def test_it_answers_while_the_loop_of_the_test_is_blocked() -> None:
    async with KeepstateService() as service:
        answered = threading.Event()

        def call() -> None:
            with sync.Client(service.address) as state:
                state.put("greeting", "hello")
            answered.set()

        thread = threading.Thread(target=call)
        thread.start()
        assert answered.wait(10)  # here, on this loop
        thread.join(10)


def test_two_of_them_share_nothing() -> None:
    with (
        KeepstateService() as one,
        KeepstateService() as other,
        sync.Client(one.address) as first,
        sync.Client(other.address) as second,
    ):
        first.put("session", "open", ttl=HOUR)
        second.put("session", "open", ttl=HOUR)
        one.clock.advance(2 * HOUR)
        assert first.get("session") is None
        assert second.get("session") == "open"
        second.put("session", "still open")
        first.put("session", "open again", if_absent=True)


def test_the_store_has_the_name_that_was_asked_for() -> None:
    with KeepstateService(store="redis") as service, sync.Client(service.address, store="redis") as state:
        state.put("greeting", "hello")
        assert state.store_info().name == "redis"


@pytest.mark.parametrize("passed", [timedelta(seconds=1), timedelta(minutes=8), HOUR, timedelta(days=400)])
def test_time_that_was_moved_makes_no_write_uncertain(passed: timedelta) -> None:
    with KeepstateService() as service, sync.Client(service.address) as state:
        state.put("expires", "soon", ttl=passed)
        state.put("stays", "for good")
        etag = state.put("changes", 0)
        service.clock.advance(passed)
        state.put("expires", "again", if_absent=True)
        service.clock.advance(passed)
        assert state.increment("count") == 1
        service.clock.advance(passed)
        state.put("changes", 1, if_etag=etag)
        service.clock.advance(passed)
        assert state.delete("stays") is True
        with pytest.raises(AlreadyExists):
            state.put("expires", "twice", if_absent=True)


def test_the_clock_goes_by_as_much_as_it_is_moved_and_never_back() -> None:
    clock = MovableClock()
    before = clock.now()
    clock.advance(HOUR)
    assert 3_600_000 <= clock.now() - before < 3_600_000 + 60_000
    with pytest.raises(ValueError, match="negative"):
        clock.advance(-HOUR)


def test_no_setting_of_the_environment_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "KEEPSTATE_VALUE_LIMIT": "1",
        "KEEPSTATE_DEAD_LIFE": "no duration",
        "KEEPSTATE_CONFIG": "/no/such/file",
        "DAPR_API_TOKEN": "a token",
        "APP_PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    with KeepstateService() as service, sync.Client(service.address) as state:
        state.put("greeting", "hello")
        assert state.get("greeting") == "hello"


def test_no_proxy_of_the_environment_is_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody listens
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    with KeepstateService() as service, sync.Client(service.address) as state:
        state.put("greeting", "hello")


def test_there_is_no_address_unless_it_runs() -> None:
    service = KeepstateService()
    with pytest.raises(RuntimeError, match="does not run"):
        _ = service.address
    with service:
        address = service.address
        with pytest.raises(RuntimeError, match="runs already"):
            service.start()
        assert service.address == address
    with pytest.raises(RuntimeError, match="does not run"):
        _ = service.address
    service.stop()  # once more


def test_a_start_that_fails_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    from keepstate_server.app import Service

    async def fail(_: Service) -> None:
        raise OSError("no more files")

    service = KeepstateService()
    with service:  # so that the loop of all synchronous clients runs
        pass
    before = threading.active_count()
    with monkeypatch.context() as patch:
        patch.setattr(Service, "wait_ready", fail)
        with pytest.raises(OSError, match="no more files"):
            service.start()
    assert threading.active_count() == before
    with service, sync.Client(service.address) as state:
        assert state.get("greeting") is None
