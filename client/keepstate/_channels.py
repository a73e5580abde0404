"""The channel to the service, and another one where the files of TLS have been renewed."""

from __future__ import annotations

__all__ = ["Channel", "Channels", "is_loopback"]

import importlib.metadata
import re

import grpc
import grpc.aio

from keepstate.tls import Tls, read_files
from keepstate.v1.state_service_pb2_grpc import StateServiceStub
from keepstate.v1.store_service_pb2_grpc import StoreServiceStub

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""The largest message that the service takes and that is taken from it."""

_ADDRESS = re.compile(r"(?:[^\s:/\[\]]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")

_LOOPBACK = re.compile(r"(localhost|127(\.[0-9]{1,3}){3}|\[::1\]):[0-9]+")


class Channel:
    """A channel with the stubs on it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.state = StateServiceStub(channel)
        self.store = StoreServiceStub(channel)
        self.calls = 0
        """How many attempts are under way on it."""

    @property
    def connected(self) -> bool:
        """Whether there is a connection, or one is being made."""
        return self.channel.get_state() in (grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.CONNECTING)


class Channels:
    """The channel in use, and such as have been replaced, each until the last call on it has ended.

    Raises:
        ValueError: the address is not host:port, or a file of TLS is not what it should be.
    """

    def __init__(self, address: str, tls: Tls | None) -> None:
        if "://" in address:
            raise ValueError(f"address must be host:port, without a scheme: {address!r}")
        found = _ADDRESS.fullmatch(address)
        if found is None or not 0 < int(found["port"]) < 2**16:  # without a port gRPC would call 443
            raise ValueError(f"address must be host:port: {address!r}")
        self._address = address
        self._tls = tls
        self._pem = read_files(tls) if tls else None
        self._open: list[Channel] = []  # the last one is in use
        self.closed = False

    def check_open(self) -> None:
        """See that calls may be begun, else RuntimeError."""
        if self.closed:
            raise RuntimeError("the client is closed")

    def take(self) -> Channel:
        """The channel for one attempt, to be given back."""
        self.check_open()
        if not self._open or self._renewed():
            self._open.append(self._new())
        self._open[-1].calls += 1
        return self._open[-1]

    async def give_back(self, channel: Channel) -> None:
        """End an attempt, and close what is not needed any more."""
        channel.calls -= 1
        for each in [each for each in self._open[:-1] if each.calls == 0]:
            self._open.remove(each)
            await each.channel.close()

    async def close(self) -> None:
        """Cut short what is under way, and let no more be begun."""
        self.closed = True
        for each in self._open[:]:
            await each.channel.close()

    def _new(self) -> Channel:
        options = _options(self._address, self._tls)
        if self._pem is None:
            return Channel(grpc.aio.insecure_channel(self._address, options=options))
        return Channel(grpc.aio.secure_channel(self._address, self._pem.credentials, options=options))

    def _renewed(self) -> bool:
        """Whether the files of TLS are others than before, looked at where a connection must be made anyway."""
        if self._tls is None or self._open[-1].connected:
            return False
        try:
            found = read_files(self._tls)
        except ValueError:
            return False  # as while they are being replaced; what was read before may do
        before, self._pem = self._pem, found
        return found != before


def is_loopback(address: str) -> bool:
    """Whether what is sent to this address stays on this machine."""
    return _LOOPBACK.fullmatch(address) is not None


def _options(address: str, tls: Tls | None) -> list[tuple[str, str | int]]:
    named = [] if tls is None or tls.server_name is None else [("grpc.ssl_target_name_override", tls.server_name)]
    # What http_proxy names cannot reach this machine's loopback.
    direct = [("grpc.enable_http_proxy", 0)] if is_loopback(address) else []
    return [
        *named,
        *direct,
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", 60_000),  # the service lets clients ping every 10 s; proxies may not
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),  # so that a dead connection is noticed before the next call
        ("grpc.initial_reconnect_backoff_ms", 100),  # a second by default: longer than a service needs to restart
        ("grpc.max_reconnect_backoff_ms", 5_000),
        # What is repeated is decided here, with the request's attempt counted, and not by gRPC's service config.
        ("grpc.enable_retries", 0),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.primary_user_agent", f"keepstate-python/{importlib.metadata.version('keepstate')}"),
    ]
