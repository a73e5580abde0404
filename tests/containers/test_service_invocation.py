"""What Dapr's service invocation sends again, and what tells it from what was sent first.

An application's daprd hands its calls on to the daprd of another, and that one to an app of this test, which notes what
arrives.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from keepstate.v1 import record_pb2, state_service_pb2_grpc
from keepstate.v1 import state_service_pb2 as pb
from tests.support.containers import Containers
from tests.support.servers import DaprContainer

pytestmark = pytest.mark.containers

UNAVAILABLE, UNKNOWN = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN
ABORTED, EXCEEDED = grpc.StatusCode.ABORTED, grpc.StatusCode.DEADLINE_EXCEEDED

# Not the name of any other sidecar on the network: who is called is found by it.
APP = "called-by-others"

PREVIOUS = "grpc-previous-rpc-attempts"
MESSAGE = pb.PutRequest(
    name=record_pb2.RecordName(key="k"), value=b"value", request=record_pb2.RequestId(client=1, number=1)
)

AGAIN = {"policy": "constant", "duration": "100ms", "maxRetries": 3}
POLICIES: Mapping[str, Mapping[str, Any]] = {
    "retrying": {"policies": {"retries": {"again": AGAIN}}, "targets": {"apps": {APP: {"retry": "again"}}}},
    "impatient": {
        "policies": {"retries": {"again": AGAIN}, "timeouts": {"short": "500ms"}},
        "targets": {"apps": {APP: {"retry": "again", "timeout": "short"}}},
    },
    "default": {"policies": {"retries": {"DefaultRetryPolicy": AGAIN}}},
    "excepted": {"policies": {"retries": {"DefaultRetryPolicy": AGAIN}}, "targets": {"apps": {APP: {}}}},
    "built-in": {"policies": {"retries": {"DaprBuiltInServiceRetries": AGAIN}}},
}
"""Resiliency of Dapr, by what the tests call it."""

Act = Callable[[], Awaitable[object]]


@dataclass(frozen=True, kw_only=True)
class Arrival:
    message: bytes
    metadata: Mapping[str, str | bytes]
    moment: float


class App(grpc.GenericRpcHandler):
    """Notes what arrives through a connection that can be cut, and answers with OK unless told otherwise."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.script: list[grpc.StatusCode | Act] = []
        """What becomes of the next calls: the code that each is answered with, or what is done before OK."""
        self.port = 0
        self._behind = 0
        self._connections: list[asyncio.StreamWriter] = []

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        """Handles every method alike."""
        metadata = dict(details.invocation_metadata)

        async def handle(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            moment = asyncio.get_running_loop().time()
            self.arrivals.append(Arrival(message=request, metadata=metadata, moment=moment))
            match self.script.pop(0) if self.script else None:
                case grpc.StatusCode() as code:
                    await context.abort(code, "by the test")
                case None:
                    pass
                case act:
                    await act()
            return b""

        return grpc.unary_unary_rpc_method_handler(handle)

    @asynccontextmanager
    async def running(self, host: str) -> AsyncIterator[App]:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers((self,))
        self._behind = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        front = await asyncio.start_server(self._connect, host, 0)
        self.port = front.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            front.close()
            await self.cut()
            await server.stop(None)

    async def cut(self) -> None:
        """Cuts every connection: whoever called hears of it, and gets no answer."""
        for writer in self._connections:
            writer.transport.abort()
        self._connections.clear()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader_behind, writer_behind = await asyncio.open_connection("127.0.0.1", self._behind)
        self._connections += [writer, writer_behind]
        await asyncio.gather(_pump(reader, writer_behind), _pump(reader_behind, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()


@pytest.fixture(scope="module")
async def app(containers: Containers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[App]:
    async with App().running(containers.network.gateway) as running:
        sidecar = await asyncio.to_thread(
            containers.sidecar,
            APP,
            resources_path=tmp_path_factory.mktemp("nothing"),
            arguments=(
                "--app-protocol=grpc",
                f"--app-port={running.port}",
                f"--app-channel-address={containers.network.gateway}",
            ),
        )
        yield running
        await asyncio.to_thread(sidecar.stop)


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Calls the app through a sidecar of its own."""

    app: App
    sidecar: DaprContainer

    async def put(
        self,
        *script: grpc.StatusCode | Act,
        config: Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Calls once, with what becomes of what arrives and the gRPC library's own configuration; says the code."""
        self.app.arrivals.clear()
        self.app.script[:] = script
        options = [("grpc.service_config", json.dumps(config or {}))]
        async with grpc.aio.insecure_channel(self.sidecar.grpc_target, options=options) as channel:
            stub: Any = state_service_pb2_grpc.StateServiceStub(channel)
            call = stub.Put(MESSAGE, metadata=[("dapr-app-id", APP), *(metadata or {}).items()], timeout=10)
            code: grpc.StatusCode = await call.code()
            return code.name


@pytest.fixture
async def caller(
    containers: Containers, app: App, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Caller]:
    """Its sidecar has the policy that the test is given, or none."""
    policy: str = getattr(request, "param", "none")
    if policy in POLICIES:
        document = {"apiVersion": "dapr.io/v1alpha1", "kind": "Resiliency", "metadata": {"name": policy}}
        (tmp_path / "resiliency.yaml").write_text(yaml.safe_dump({**document, "spec": POLICIES[policy]}))
    sidecar = await asyncio.to_thread(containers.sidecar, f"caller-{policy}", resources_path=tmp_path)
    yield Caller(app=app, sidecar=sidecar)
    await asyncio.to_thread(sidecar.stop)


def with_policies(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("caller", names, indirect=True)


@with_policies("none", "built-in", "excepted")
async def test_without_a_retry_policy_for_the_app_nothing_is_sent_again(caller: Caller) -> None:
    """Dapr's built-in retries are for its own invoke API, and a target with no policy is excepted from the default."""
    for code in (UNAVAILABLE, UNKNOWN):
        assert await caller.put(code) == code.name
        assert len(caller.app.arrivals) == 1
    assert await caller.put(caller.app.cut) == "UNAVAILABLE"
    (arrival,) = caller.app.arrivals
    assert arrival.metadata["dapr-caller-app-id"] == caller.sidecar.app_id


@with_policies("retrying", "default")
async def test_a_retry_policy_sends_again_whatever_failed_and_nothing_tells(caller: Caller) -> None:
    for what in (UNAVAILABLE, UNKNOWN, ABORTED, EXCEEDED, caller.app.cut):
        assert await caller.put(what, what) == "OK"
        first, *again = caller.app.arrivals
        assert len(again) == 2
        assert pb.PutRequest.FromString(first.message) == MESSAGE
        assert all((each.message, each.metadata) == (first.message, first.metadata) for each in again)
        assert first.metadata.keys() == {"dapr-caller-app-id", "dapr-callee-app-id", "traceparent", "user-agent"}
    assert await caller.put(*[UNAVAILABLE] * 9) == "UNAVAILABLE"
    moments = [each.moment for each in caller.app.arrivals]
    assert len(moments) == 4
    assert all(later - earlier >= 0.1 for earlier, later in pairwise(moments))


@with_policies("impatient")
async def test_under_a_timeout_it_is_sent_again_though_nothing_failed(caller: Caller) -> None:
    assert await caller.put(asyncio.Event().wait) == "OK"
    first, again, *_ = caller.app.arrivals
    assert (again.message, again.metadata) == (first.message, first.metadata)


async def test_what_the_callers_grpc_library_sends_again_says_so_through_dapr(caller: Caller) -> None:
    policy = {"maxAttempts": 3, "initialBackoff": "0.01s", "maxBackoff": "0.01s", "backoffMultiplier": 1}
    config = {"methodConfig": [{"name": [{}], "retryPolicy": {**policy, "retryableStatusCodes": ["UNAVAILABLE"]}}]}
    assert await caller.put(UNAVAILABLE, UNAVAILABLE, config=config) == "OK"
    assert [each.metadata.get(PREVIOUS) for each in caller.app.arrivals] == [None, "1", "2"]


async def test_a_callers_token_and_metadata_reach_the_app(caller: Caller) -> None:
    sent = {"authorization": "Bearer t0", "x-correlation-id": "c0"}
    assert await caller.put(metadata=sent) == "OK"
    (arrival,) = caller.app.arrivals
    assert {name: arrival.metadata.get(name) for name in sent} == sent
