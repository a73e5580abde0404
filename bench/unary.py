"""Plain unary calls, as clients in any language make them, at Keepstate and at daprd alone: no library of either.

64 calls are under way over 8 connections. By h2load as well: it sends each connection's calls with one message, so all
of them are for one key; by `bench.http2` they are for 1,000.
"""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial

import grpc
from dapr.proto import api_v1, common_v1

from bench import cpu, h2load, http2
from bench.http2 import Calls
from bench.load import Measured
from bench.measuring import FAILED, Scale, gathering
from bench.outcomes import Found, Measure, Outcome, floor
from bench.rig import Rig
from bench.rounds import take_turns
from bench.rows import KEYS, VALUE
from keepstate.v1 import record_pb2
from keepstate.v1 import state_service_pb2 as pb
from tests.support.service import ServiceProcess

__all__ = ["Server", "answers", "daprd", "keepstate", "measured", "services_of"]

BAR = floor(0.45, 0.7)
WORKERS = (1, 2)
"""How many the service has. The bar is for the last."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """What is called, and the messages that it takes."""

    target: str
    get: str
    put: str
    get_of: Callable[[str], bytes]
    put_of: Callable[[str, bytes], bytes]

    def gets(self, keys: Sequence[str]) -> Calls:
        """Reads of records, 64 at a time."""
        return Calls(target=self.target, method=self.get, messages=[self.get_of(key) for key in keys])

    def puts(self, keys: Sequence[str], value: bytes) -> Calls:
        """Writes of a value, 64 at a time."""
        return Calls(target=self.target, method=self.put, messages=[self.put_of(key, value) for key in keys])


def daprd(on: Rig, store: str) -> Server:
    """The sidecar, called as it is."""
    return Server(
        target=on.sidecar.grpc_target,
        get="/dapr.proto.runtime.v1.Dapr/GetState",
        put="/dapr.proto.runtime.v1.Dapr/SaveState",
        get_of=lambda key: api_v1.GetStateRequest(store_name=store, key=key).SerializeToString(),
        put_of=lambda key, value: api_v1.SaveStateRequest(
            store_name=store, states=[common_v1.StateItem(key=key, value=value)]
        ).SerializeToString(),
    )


def keepstate(address: str, store: str) -> Server:
    """A service."""
    return Server(
        target=address,
        get="/keepstate.v1.StateService/Get",
        put="/keepstate.v1.StateService/Put",
        get_of=lambda key: pb.GetRequest(name=record_pb2.RecordName(store=store, key=key)).SerializeToString(),
        put_of=lambda key, value: pb.PutRequest(
            name=record_pb2.RecordName(store=store, key=key), value=value
        ).SerializeToString(),
    )


async def measured(on: Rig, stores: Sequence[str], scale: Scale, wanted: Callable[[str], bool]) -> list[Outcome]:
    """Measures gets and puts on each store, with one worker and with two; those rows whose names are wanted."""
    outcomes: list[Outcome] = []
    with services_of(on, WORKERS, gathering(scale)) as services:
        if not scale.quick:
            await on.settled(*services.values())
        for store in stores:
            for kind in ("get", "put"):
                for loader in ("", "by h2load"):
                    names = {count: _name(kind, loader, count) for count in WORKERS}
                    if any(wanted(name) for name in names.values()):
                        each = _Rows(on=on, services=services, store=store, kind=kind, loader=loader, scale=scale)
                        outcomes += await each.outcomes(names)
    return outcomes


def _name(kind: str, loader: str, workers: int) -> str:
    return " ".join(["unary", kind, *([loader] if loader else []), f"x64, {workers} worker{'s' * (workers > 1)}"])


@contextmanager
def services_of(on: Rig, counts: Sequence[int], settings: Mapping[str, str]) -> Iterator[dict[int, ServiceProcess]]:
    """Starts one with each number of workers. One that is not called costs next to nothing."""
    with ExitStack() as open_:
        services = {}
        for count in counts:
            services[count] = on.process({"KEEPSTATE_WORKERS": str(count), **settings})
            open_.callback(services[count].close)
            services[count].start()
        yield services


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """One kind of call on one store: daprd and each service, in turn."""

    on: Rig
    services: Mapping[int, ServiceProcess]
    store: str
    kind: str
    loader: str
    scale: Scale

    async def outcomes(self, names: Mapping[int, str]) -> list[Outcome]:
        """Measures them, and compares each service with daprd."""
        bars = {WORKERS[-1]: BAR}
        try:
            found = await self._found()
        except FAILED as error:
            return [
                Outcome(row=name, store=self.store, measure=Measure.RATE, bar=bars.get(count), missing=repr(error))
                for count, name in names.items()
            ]
        return [
            Outcome(
                row=name,
                store=self.store,
                measure=Measure.RATE,
                bar=bars.get(count),
                figures=found.ratios(Measure.RATE, str(count), "direct"),
                found=_of_two(found, str(count)),
            )
            for count, name in names.items()
        ]

    async def _found(self) -> Found:
        servers = {"direct": daprd(self.on, self.store)}
        servers |= {str(count): keepstate(each.address, self.store) for count, each in self.services.items()}
        value, sides = os.urandom(VALUE), dict[str, Callable[[], Awaitable[Measured]]]()
        for name, server in servers.items():
            keys = [f"bench:unary-{self.kind}:{name}:{number:04}" for number in range(KEYS)]
            await answers(server.puts(keys, value))  # for gets these are the records
            calls = server.gets(keys) if self.kind == "get" else server.puts(keys, value)
            size = await answers(replace(calls, messages=calls.messages[:8]))
            if self.loader:
                sides[name] = partial(h2load.run, calls, self.scale.seconds, folder=self.on.folder, answer=size)
            else:
                sides[name] = partial(http2.run, calls, self.scale.seconds)
            await http2.run(calls, min(1.0, self.scale.seconds))  # warms up
        return await take_turns(sides, rounds=self.scale.rounds, spent=self._spent)

    def _spent(self) -> dict[str, float]:
        service = sum(cpu.of_process(each.process.pid) for each in self.services.values())
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)  # h2load
        return {
            "client": cpu.of_process(os.getpid(), children=False) + ended.ru_utime + ended.ru_stime,
            "service": service,
            "daprd": cpu.of_container(self.on.sidecar.get_wrapped_container()),
            "store": cpu.of_container(self.on.server(self.store).get_wrapped_container()),
        }


async def answers(calls: Calls) -> int:
    """Makes each call once, by the gRPC library, and returns the size of the smallest answer as it is sent.

    Raises:
        grpc.RpcError: one was not answered OK.
    """
    async with grpc.aio.insecure_channel(calls.target) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(calls.method)
        answers = await asyncio.gather(*(call(message, timeout=30) for message in calls.messages))
    return min(len(http2.framed(answer)) for answer in answers)


def _of_two(found: Found, count: str) -> Found:
    """Of what was found of all, daprd and the service with so many workers."""
    names = {"direct": "direct", "keepstate": count}
    return Found(
        rates={name: found.rates[side] for name, side in names.items()},
        latencies={name: found.latencies[side] for name, side in names.items()},
        microseconds={name: found.microseconds[side] for name, side in names.items()},
    )
