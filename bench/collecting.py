"""How fast dead records are collected on Redis, and what that does to callers: `python -m bench.collecting`.

One instance writes records that expire soon, and ends. When all are due another one begins: how many a second leave the
store, and how long a put and a get take meanwhile?
"""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import dataclass, field
from typing import TypeAlias

from bench.rig import Rig, rig
from keepstate.v1 import record_pb2, state_service_pb2_grpc
from keepstate.v1 import state_service_pb2 as pb

BATCH = 128
SETTINGS = {"KEEPSTATE_LONGEST_DELAY": "500ms", "KEEPSTATE_CLOCK_DIFFERENCE": "100ms", "KEEPSTATE_DEAD_LIFE": "10s"}
LIFE = 11.2
"""How long after its writing a record may be collected by these settings; seconds."""

Stub: TypeAlias = "state_service_pb2_grpc.StateServiceAsyncStub"


@dataclass(kw_only=True)
class Caller:
    """Puts and gets a record of its own, one call after the other."""

    state: Stub
    times: list[float] = field(default_factory=list)

    async def run(self) -> None:
        """Goes on until it is cancelled."""
        name = record_pb2.RecordName(store="redis", key="bench:caller")
        while True:
            began = time.perf_counter()
            await self.state.Put(pb.PutRequest(name=name, value=b"x" * 100))
            await self.state.Get(pb.GetRequest(name=name))
            self.times.append(time.perf_counter() - began)

    def told(self) -> str:
        """Returns what the calls since the last telling took."""
        times, self.times = sorted(self.times), []
        middle, late, last = (1000 * times[int(len(times) * part)] for part in (0.5, 0.99, 0.9999))
        return f"{len(times)} times, median {middle:.1f} ms, 99 % {late:.1f} ms, longest {last:.1f} ms"


async def write(state: Stub, records: int) -> float:
    """Writes records that expire a second after the last; returns how many a second."""
    began = time.monotonic()

    async def some(numbers: range) -> None:
        for begin in numbers:
            puts = [
                pb.PutRequest(name=record_pb2.RecordName(store="redis", key=f"bench:{number:07}"), value=b"x" * 100)
                for number in range(begin, begin + BATCH)
            ]
            for put in puts:
                put.ttl.FromSeconds(1)
            answer = await state.Batch(pb.BatchRequest(operations=[pb.BatchOperation(put=put) for put in puts]))
            assert all(each.HasField("put") for each in answer.results)

    await asyncio.gather(*(some(range(at * BATCH, records, 4 * BATCH)) for at in range(4)))
    return records / (time.monotonic() - began)


async def main(records: int) -> None:
    """Prints what is measured."""
    with rig() as on:
        print(on.describe(SETTINGS))
        async with on.service(SETTINGS) as state:
            await asyncio.sleep(1)
            rate = await write(state, records)
        beside = on.keys() - records
        print(f"{records} records that expire: written at {rate:.0f} a second, {beside} keys beside them")
        await asyncio.sleep(LIFE)
        async with on.service(SETTINGS) as state:  # it has noted none of them
            await measure(on, state, beside)


async def measure(on: Rig, state: Stub, beside: int) -> None:
    """Prints how fast an instance collects records that are all due, and what that does to its callers.

    ``beside`` is how many keys are none of them.
    """
    caller = Caller(state=state)
    calling = asyncio.create_task(caller.run())
    full = on.keys()
    while on.keys() >= full - 1 and not calling.done():
        await asyncio.sleep(0.02)
    caller.times.clear()
    began, first = time.monotonic(), on.keys()
    while (left := on.keys()) > beside + 1 and not calling.done():
        await asyncio.sleep(0.02)
    took = time.monotonic() - began
    print(f"collected at {(first - left) / took:.0f} a second, in {took:.1f} s")
    print(f"a put and a get, beside the collection: {caller.told()}")
    await asyncio.sleep(5)
    print(f"a put and a get, beside nothing:        {caller.told()}")
    calling.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=20_000)
    asyncio.run(main(-(-parser.parse_args().records // BATCH) * BATCH))
