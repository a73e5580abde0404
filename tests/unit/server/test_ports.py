"""A port that is reserved for those who share it: the kernel's rules, as they are."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from keepstate_server.ports import ReservedPort

LOOPBACK = "127.0.0.1"


def listening(port: int, *, shared: bool, host: str = LOOPBACK) -> socket.socket:
    """A socket as servers make it."""
    made = socket.socket()
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        made.bind((host, port))
        made.listen()
    except OSError:
        made.close()
        raise
    return made


def test_those_who_share_it_may_listen_and_get_all_connections() -> None:
    reserved = ReservedPort(LOOPBACK, 0)
    with listening(reserved.port, shared=True) as one, listening(reserved.port, shared=True) as other:
        callers = [socket.create_connection((LOOPBACK, reserved.port), timeout=5) for _ in range(64)]
        taken = 0
        for each in (one, other):
            each.setblocking(False)
            while True:
                try:
                    each.accept()[0].close()
                except BlockingIOError:
                    break
                taken += 1
        assert taken == len(callers)
        for caller in callers:
            caller.close()
    reserved.close()


@pytest.mark.parametrize("host", [LOOPBACK, "localhost", "0.0.0.0", "::"])
def test_nobody_else_gets_it_whether_anyone_listens_yet_or_not(host: str) -> None:
    reserved = ReservedPort(host, 0)
    attempts: list[Callable[[], object]] = [
        lambda: listening(reserved.port, shared=False),
        lambda: listening(reserved.port, shared=False, host="0.0.0.0"),
        lambda: ReservedPort(host, reserved.port),
        lambda: ReservedPort("0.0.0.0", reserved.port),
    ]
    for attempt in attempts:
        with pytest.raises(OSError, match="in use"):
            attempt()
    with listening(reserved.port, shared=True):
        for attempt in attempts:
            with pytest.raises(OSError, match="in use"):
                attempt()
    reserved.close()
    with listening(reserved.port, shared=False):
        pass


@pytest.mark.parametrize("shared", [False, True])
def test_one_that_is_listened_on_is_not_reserved(shared: bool) -> None:
    with listening(0, shared=shared) as taken, pytest.raises(OSError, match="in use"):
        ReservedPort(LOOPBACK, taken.getsockname()[1])


@pytest.mark.parametrize("shared", [False, True])
def test_connections_that_have_just_ended_do_not_hold_it(shared: bool) -> None:
    with listening(0, shared=shared) as before:
        port = before.getsockname()[1]
        with socket.create_connection((LOOPBACK, port), timeout=5) as caller:
            before.accept()[0].close()  # who closes first remembers the connection for a minute
            assert caller.recv(1) == b""
    reserved = ReservedPort(LOOPBACK, port)
    with listening(port, shared=True):
        pass
    reserved.close()


def test_an_address_that_is_not_this_machines_is_refused() -> None:
    with pytest.raises(OSError, match="assign"):
        ReservedPort("192.0.2.1", 0)


def test_a_host_whose_address_is_named_twice_is_reserved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found(*args, **options) * 2)
    ReservedPort("localhost", 0).close()
