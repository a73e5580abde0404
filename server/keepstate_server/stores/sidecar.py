"""The Dapr sidecar, reached through the SDK's DaprClient.

The one module of the service's own that imports dapr, so that moving to another version of the SDK is one change. Of
the SDK's own methods none takes a deadline, and some lack consistency, options, etags or metadata: those calls go
through the client's own stub, with the SDK's generated messages.
"""

import asyncio
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import aiohttp
import grpc
import structlog
from dapr.aio.clients import DaprClient
from dapr.clients.health import DaprHealth
from dapr.conf import settings as dapr_settings
from dapr.conf.helpers import GrpcEndpoint
from dapr.proto import api_v1, common_v1

from keepstate_server.domain.records import Consistency
from keepstate_server.domain.times import Instant
from keepstate_server.domain.values import frozen
from keepstate_server.stores.address import SidecarAddress
from keepstate_server.stores.base import Stored, StoreEtag

__all__ = ["BulkItem", "Component", "Sidecar", "SidecarError", "StateItem"]

_log = structlog.get_logger(__name__)

_CONSISTENCY = {
    Consistency.STRONG: common_v1.StateOptions.CONSISTENCY_STRONG,
    Consistency.EVENTUAL: common_v1.StateOptions.CONSISTENCY_EVENTUAL,
}


# So that a sidecar that comes back is found within a second or two: by default gRPC waits up to two minutes between
# attempts to connect, and 20 s for one that gets no answer. The SDK has no way to say so.
_CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.min_reconnect_backoff_ms", 2_000),  # despite its name: how long one attempt may take
    ("grpc.enable_http_proxy", 0),  # what http_proxy names is for the world outside: a sidecar is near
)

_HEALTH_SECONDS = 2.0

_NO_ETAG = "none"

# How long a call may go on that is not to be broken off: longer than SQLite waits for a lock, and well within the
# longest delay of a request (`longest_delay`).
_FINISH_SECONDS = 15.0


class SidecarError(Exception):
    """A call to the sidecar failed."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        """Carries the gRPC code and the sidecar's text, which is for the log and for store knowledge alone."""
        super().__init__(f"{code.name}: {text}")
        self.code = code
        self.text = text

    @property
    def not_sent(self) -> bool:
        """Whether the request certainly never left: no connection could be made."""
        return self.code is grpc.StatusCode.UNAVAILABLE and "failed to connect to all addresses" in self.text

    @property
    def too_large(self) -> bool:
        """Whether a message was over the limit of one side. Of a write that is the request: its answer is empty."""
        return self.code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in self.text


@frozen
class Component:
    """A component that the sidecar has loaded."""

    name: str
    type: str
    version: str
    capabilities: frozenset[str]


@frozen
class StateItem:
    """One key to be saved."""

    key: str
    value: bytes
    etag: StoreEtag | None
    create_only: bool = False
    """Sent as first-write without etag. Never to Redis, which overwrites then."""
    ttl_seconds: int | None = None
    consistency: Consistency = Consistency.STRONG


@frozen
class BulkItem:
    """One key of a bulk read."""

    stored: Stored | None
    error: str = ""


class Sidecar:
    """A sidecar's state calls. Every timeout is seconds for the whole call."""

    def __init__(self, address: SidecarAddress, *, max_message_bytes: int) -> None:
        """Makes no connection yet.

        Raises:
            ValueError: the gRPC address is none.
        """
        _check(address.grpc)
        self._address = address
        self._max_message_bytes = max_message_bytes
        self._client: DaprClient | None = None
        self._watching: asyncio.Task[None] | None = None
        self._finishing: set[str] = set()
        self._unfinished: set[asyncio.Future[Any]] = set()
        # With every call, in place of the SDK's interceptors: these make a task and some objects more for each.
        token = address.api_token
        self._metadata = (("dapr-api-token", token),) if token else None
        self.connection = 0
        """Counts the connections lost: another number, perhaps another sidecar, with other component files."""

    async def connect(self) -> None:
        """Waits until the sidecar is healthy, however long that takes, and connects. Once: later calls do nothing.

        The SDK's constructor waits for that too, but blocks the event loop while it does, and prints.
        """
        if self._client is not None:
            return
        attempts = 0
        while not await self._healthy():
            attempts += 1
            if attempts in (1, 10) or attempts % 60 == 0:
                _log.warning("waiting for the sidecar", grpc=self._address.grpc, http=self._address.http)
            await asyncio.sleep(min(0.1 * attempts, 1.0))
        with _constructed_our_way(self._address.api_token):
            self._client = DaprClient(address=self._address.grpc, max_grpc_message_length=self._max_message_bytes)
        self._watching = asyncio.create_task(self._watch(self._client._channel))  # noqa: SLF001 - the SDK hides it

    async def _watch(self, channel: grpc.aio.Channel) -> None:
        state = channel.get_state()
        while state is not grpc.ChannelConnectivity.SHUTDOWN:
            await channel.wait_for_state_change(state)
            if state is grpc.ChannelConnectivity.READY:
                self.connection += 1
            state = channel.get_state()

    async def close(self) -> None:
        """Closes the connection, which breaks off what is under way."""
        if self._watching is not None:
            self._watching.cancel()
        if self._client is not None:
            await self._client.close()  # type: ignore[no-untyped-call]  # the SDK's

    async def _healthy(self) -> bool:
        if self._address.http is None:
            return True
        url = f"{self._address.http}/v1.0/healthz/outbound"
        headers = {"dapr-api-token": self._address.api_token} if self._address.api_token else {}
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_HEALTH_SECONDS)) as session,
                session.get(url, headers=headers) as response,
            ):
                return 200 <= response.status < 300
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def components(self, *, timeout: float) -> Sequence[Component]:
        """Lists the components that the sidecar has loaded.

        Raises:
            SidecarError: the call failed.
        """
        with _errors():
            answer = await self._stub.GetMetadata(api_v1.GetMetadataRequest(), timeout=timeout, metadata=self._metadata)
        return [
            Component(name=each.name, type=each.type, version=each.version, capabilities=frozenset(each.capabilities))
            for each in answer.registered_components
        ]

    async def get(self, store: str, key: str, *, consistency: Consistency, timeout: float) -> Stored | None:
        """Reads one key; None: there is certainly nothing under it.

        Raises:
            SidecarError: the call failed.
        """
        request = api_v1.GetStateRequest(store_name=store, key=key, consistency=_CONSISTENCY[consistency])
        answer = await self._state_call(store, self._stub.GetState, request, timeout)
        return _stored(answer.data, answer.etag, answer.metadata)

    async def get_bulk(self, store: str, keys: Sequence[str], *, timeout: float) -> Mapping[str, BulkItem]:
        """Reads keys at once; a key may be missing in the answer, or seem absent where the store broke off.

        Raises:
            SidecarError: the call failed as a whole.
        """
        # Parallelism 0 is "unlimited"; the SDK's default of 1 reads one after the other.
        request = api_v1.GetBulkStateRequest(store_name=store, keys=keys, parallelism=0)
        answer = await self._state_call(store, self._stub.GetBulkState, request, timeout)
        return {
            item.key: BulkItem(stored=_stored(item.data, item.etag, item.metadata), error=item.error)
            for item in answer.items
        }

    async def save(self, store: str, items: Sequence[StateItem], *, timeout: float) -> None:
        """Saves items independently of each other.

        Raises:
            SidecarError: at least one was not saved, or its reply was lost; with several items nothing tells which.
        """
        request = api_v1.SaveStateRequest(store_name=store)
        for item in items:
            _set_item(request.states.add(), item)
        await self._state_call(store, self._stub.SaveState, request, timeout)

    async def delete(self, store: str, key: str, *, etag: StoreEtag | None, timeout: float) -> None:
        """Deletes one key if its etag is still ``etag``; None: whatever its etag is.

        Raises:
            SidecarError: it was not deleted, or the reply was lost.
        """
        tag = None if etag is None else common_v1.Etag(value=etag)
        request = api_v1.DeleteStateRequest(store_name=store, key=key, etag=tag)
        await self._state_call(store, self._stub.DeleteState, request, timeout)

    async def delete_all(self, store: str, etags: Mapping[str, StoreEtag], *, timeout: float) -> None:
        """Deletes keys, each if its etag is still the one given, in one state transaction.

        Raises:
            SidecarError: it failed, or its reply was lost. What a refusal means for the others is the store's affair.
        """
        request = api_v1.ExecuteStateTransactionRequest(
            storeName=store,
            operations=[
                api_v1.TransactionalStateOperation(
                    operationType="delete", request=common_v1.StateItem(key=key, etag=common_v1.Etag(value=etag))
                )
                for key, etag in etags.items()
            ],
        )
        await self._state_call(store, self._stub.ExecuteStateTransaction, request, timeout)

    async def transact(self, store: str, items: Sequence[StateItem], *, timeout: float) -> None:
        """Saves items in one state transaction, in the order given. What that means is the store's affair.

        Raises:
            SidecarError: the transaction failed, or its reply was lost.
        """
        request = api_v1.ExecuteStateTransactionRequest(storeName=store)
        for item in items:
            operation = request.operations.add()
            operation.operationType = "upsert"
            _set_item(operation.request, item)
        await self._state_call(store, self._stub.ExecuteStateTransaction, request, timeout)

    def let_finish(self, store: str) -> None:
        """Breaks off no call on this store from now on, though nobody waits for it any more."""
        self._finishing.add(store)

    async def finish(self, *, timeout: float) -> None:
        """Waits until the calls have ended that are not to be broken off, but no longer than ``timeout`` seconds."""
        if self._unfinished:
            await asyncio.wait(self._unfinished, timeout=timeout)

    async def _state_call(self, store: str, method: Any, request: Any, timeout: float) -> Any:
        if store not in self._finishing:
            with _errors():
                return await method(request, timeout=timeout, metadata=self._metadata)
        call = asyncio.ensure_future(method(request, timeout=max(timeout, _FINISH_SECONDS), metadata=self._metadata))
        self._unfinished.add(call)
        call.add_done_callback(self._finished)
        with _errors():
            done, _ = await asyncio.wait({call}, timeout=timeout)
            if not done:
                raise SidecarError(grpc.StatusCode.DEADLINE_EXCEEDED, "the store has not answered in time")
            return call.result()

    def _finished(self, call: asyncio.Future[Any]) -> None:
        self._unfinished.discard(call)
        if not call.cancelled():
            call.exception()  # if nobody waited for it, nobody misses it

    @property
    def _stub(self):  # type: ignore[no-untyped-def]
        if self._client is None:
            raise SidecarError(grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses; not connected yet")
        return self._client._stub  # noqa: SLF001 - see the module's docstring


def _check(address: str) -> None:
    """Raises ValueError with the SDK's reason if it cannot use the address."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says of http:// and https:// that they are old; when it connects, too
        try:
            GrpcEndpoint(address)
        except IndexError:
            raise ValueError(f"invalid URL '{address}'") from None


def _set_item(message: Any, item: StateItem) -> None:
    """Fills in an empty StateItem where it stands in its request: put there afterwards it would be copied."""
    message.key = item.key
    message.value = item.value
    if item.etag is not None:
        message.etag.value = item.etag
    if item.ttl_seconds is not None:
        message.metadata["ttlInSeconds"] = str(item.ttl_seconds)
    message.options.consistency = _CONSISTENCY[item.consistency]
    if item.create_only:
        message.options.concurrency = common_v1.StateOptions.CONCURRENCY_FIRST_WRITE


def _stored(data: bytes, etag: str, metadata: Mapping[str, str]) -> Stored | None:
    if not etag and not data:
        return None
    expire_time = _expire_time(metadata.get("ttlExpireTime")) if metadata else None
    # In the stores that are written a key that exists has an etag. Some of those that are only read know none.
    return Stored(data=data, etag=StoreEtag(etag or _NO_ETAG), expire_time=expire_time)


def _expire_time(text: str | None) -> Instant | None:
    if not text:
        return None
    try:
        return Instant(int(datetime.fromisoformat(text).timestamp() * 1000))
    except ValueError:
        return None


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise SidecarError(error.code(), error.details() or "") from None


@contextmanager
def _constructed_our_way(api_token: str | None) -> Iterator[None]:
    """Lets DaprClient be made without its blocking health poll, with our token and our channel options.

    And without its interceptors: one adds the token, which our calls bring themselves, the other a deadline to calls
    that have none, as ours never are.

    The constructor does not wait for anything else, so no other task can see the changed settings.
    """
    settings: Any = dapr_settings
    health: Any = DaprHealth
    aio: Any = grpc.aio
    token, poll = settings.DAPR_API_TOKEN, health.wait_for_sidecar
    insecure, secure = aio.insecure_channel, aio.secure_channel

    def insecure_channel(target: str, options: Sequence[tuple[str, object]], **_: object) -> object:
        return insecure(target, [*options, *_CHANNEL_OPTIONS])

    def secure_channel(target: str, credentials: object, options: Sequence[tuple[str, object]], **_: object) -> object:
        return secure(target, credentials, [*options, *_CHANNEL_OPTIONS])

    settings.DAPR_API_TOKEN, health.wait_for_sidecar = api_token, lambda: None
    aio.insecure_channel, aio.secure_channel = insecure_channel, secure_channel
    try:
        yield
    finally:
        settings.DAPR_API_TOKEN, health.wait_for_sidecar = token, staticmethod(poll)
        aio.insecure_channel, aio.secure_channel = insecure, secure
