"""Whether others are held up: a lone plain get beside large batches and beside a hot key, at daprd and at Keepstate."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from dapr.proto import api_v1

from bench import http2
from bench.http2 import Calls
from bench.load import Measured
from bench.measuring import FAILED, Scale, gathering
from bench.outcomes import Found, Measure, Outcome
from bench.rig import Rig
from bench.rounds import take_turns
from bench.rows import KEYS, VALUE
from bench.unary import Server, answers, daprd, keepstate, services_of
from keepstate.v1 import record_pb2
from keepstate.v1 import state_service_pb2 as pb

__all__ = ["NAMES", "measured"]

NAMES = ("lone plain get", "lone plain get beside reads of 1,000", "lone plain get beside a hot key x64")


@dataclass(frozen=True, kw_only=True)
class _Side:
    server: Server
    keys: Sequence[str]
    reads: Callable[[], Calls]
    """One after the other, of all keys at once."""

    hot: Callable[[], Calls]
    """64 at once, which change one key: increments here, saves at daprd, which has none."""

    def beside(self, name: str) -> Calls | None:
        """What goes on beside the lone get."""
        return (None, self.reads(), self.hot())[NAMES.index(name)]


async def measured(on: Rig, stores: Sequence[str], scale: Scale, wanted: Callable[[str], bool]) -> list[Outcome]:
    """Measures those rows whose names are wanted: the time of a call of a service with one worker, beside daprd's."""
    names = [name for name in NAMES if wanted(name)]
    outcomes: list[Outcome] = []
    if not names:
        return []
    with services_of(on, (1,), gathering(scale)) as services:
        for store in stores:
            sides = {"direct": _direct(on, store), "keepstate": _ours(services[1].address, store)}
            outcomes += [await _measured(name, store, sides, scale) for name in names]
    return outcomes


async def _measured(name: str, store: str, sides: dict[str, _Side], scale: Scale) -> Outcome:
    outcome = partial(Outcome, row=name, store=store, measure=Measure.LATENCY)
    rounds = {}
    try:
        for side, each in sides.items():
            await answers(each.server.puts(each.keys, os.urandom(VALUE)))
            lone = replace(each.server.gets(each.keys), connections=1, streams=1)
            beside = each.beside(name)
            if beside is not None:
                await answers(beside)
            rounds[side] = partial(_round, lone, beside, scale.seconds / 2)
            await rounds[side]()  # warms up
        found: Found = await take_turns(rounds, rounds=scale.rounds)
    except FAILED as error:
        return outcome(missing=repr(error))
    return outcome(figures=found.ratios(Measure.LATENCY, "keepstate", "direct"), found=found)


async def _round(lone: Calls, beside: Calls | None, seconds: float) -> Measured:
    async with asyncio.TaskGroup() as group:
        if beside is not None:
            group.create_task(http2.run(beside, seconds))
        measuring = group.create_task(http2.run(lone, seconds))
    return measuring.result()


def _direct(on: Rig, store: str) -> _Side:
    server, keys = daprd(on, store), [f"bench:lone:direct:{number:04}" for number in range(KEYS)]
    many = api_v1.GetBulkStateRequest(store_name=store, keys=keys, parallelism=0).SerializeToString()
    bulk = f"{server.get.rpartition('/')[0]}/GetBulkState"
    return _Side(
        server=server,
        keys=keys,
        reads=lambda: Calls(target=server.target, method=bulk, messages=[many], connections=1, streams=1),
        hot=lambda: Calls(
            target=server.target,
            method=server.put,
            messages=[server.put_of("bench:lone:direct:hot", b"1")],
            connections=8,
            streams=8,
        ),
    )


def _ours(address: str, store: str) -> _Side:
    server, keys = keepstate(address, store), [f"bench:lone:keepstate:{number:04}" for number in range(KEYS)]
    gets = [pb.BatchOperation(get=pb.GetRequest(name=record_pb2.RecordName(store=store, key=key))) for key in keys]
    many = pb.BatchRequest(operations=gets).SerializeToString()
    hot = pb.UpdateRequest(
        name=record_pb2.RecordName(store=store, key="bench:lone:keepstate:hot"), increment=pb.Increment(delta=1)
    ).SerializeToString()
    service = server.get.rpartition("/")[0]
    return _Side(
        server=server,
        keys=keys,
        reads=lambda: Calls(target=address, method=f"{service}/Batch", messages=[many], connections=1, streams=1),
        hot=lambda: Calls(target=address, method=f"{service}/Update", messages=[hot], connections=8, streams=8),
    )
