"""What records with an expiry, and dead ones, cost the store: `python -m bench.expired`.

On Redis the memory of a key of each kind, and what the notes take beside it. On PostgreSQL and SQLite what the table or
the file grows by. Beside each, the same values saved through Dapr alone.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import sqlite3
import tarfile
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import grpc
from dapr.proto import api_service_v1, api_v1, common_v1

from bench.rig import Rig, rig
from keepstate.v1 import record_pb2, state_service_pb2_grpc
from keepstate.v1 import state_service_pb2 as pb

BATCH = 100
TTL = 600
"""Of records that expire, in seconds: none does while this runs."""

Stub: TypeAlias = "state_service_pb2_grpc.StateServiceAsyncStub"
Write: TypeAlias = Callable[[Sequence[str], bytes], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Kinds:
    """Ways to leave records in one store."""

    store: str
    state: Stub
    dapr: api_service_v1.DaprStub

    async def plain(self, keys: Sequence[str], value: bytes) -> None:
        """Saved through Dapr alone, with a ttl."""
        states = [common_v1.StateItem(key=key, value=value, metadata={"ttlInSeconds": str(TTL)}) for key in keys]
        await self.dapr.SaveState(api_v1.SaveStateRequest(store_name=self.store, states=states))

    async def lasting(self, keys: Sequence[str], value: bytes) -> None:
        """Without an expiry."""
        await self._batch([pb.BatchOperation(put=self._put(key, value)) for key in keys])

    async def expiring(self, keys: Sequence[str], value: bytes) -> None:
        """With an expiry: the same before and after it."""
        puts = [self._put(key, value) for key in keys]
        for put in puts:
            put.ttl.FromSeconds(TTL)
        await self._batch([pb.BatchOperation(put=put) for put in puts])

    async def deleted(self, keys: Sequence[str], value: bytes) -> None:
        """Written and then deleted: a tombstone."""
        await self.lasting(keys, value)
        await self._batch([pb.BatchOperation(delete=pb.DeleteRequest(name=self._name(key))) for key in keys])

    def _name(self, key: str) -> record_pb2.RecordName:
        return record_pb2.RecordName(store=self.store, key=key)

    def _put(self, key: str, value: bytes) -> pb.PutRequest:
        return pb.PutRequest(name=self._name(key), value=value, content_type="text/plain")

    async def _batch(self, operations: Sequence[pb.BatchOperation]) -> None:
        answer = await self.state.Batch(pb.BatchRequest(operations=operations))
        assert not any(each.HasField("error") for each in answer.results)


async def fill(write: Write, label: str, size: int, records: int) -> None:
    """Leaves so many records of a kind and size; the values cannot be compressed."""
    for begin in range(0, records, BATCH):
        keys = [f"bench:{label}:{size}:{number:06}" for number in range(begin, begin + BATCH)]
        await write(keys, os.urandom(size))


def of_redis(on: Rig, label: str, size: int) -> float:
    """Returns the bytes of memory that Redis has for a key of a kind, on average of some."""
    keys = [f"redis||bench:{label}:{size}:{number:06}" for number in range(0, BATCH, 7)]
    return sum(memory(on, key) for key in keys) / len(keys)


def memory(on: Rig, key: str) -> int:
    """Returns the bytes of memory that Redis has for one key."""
    return int(on.ask("MEMORY", "USAGE", key, "SAMPLES", "0")[1:])


def of_postgresql(on: Rig) -> int:
    """Returns the bytes that the table and its indexes take."""
    return int(on.containers.postgres.sql("SELECT pg_total_relation_size('state')"))


def of_sqlite(on: Rig) -> int:
    """Returns the bytes that the file takes, once its log is in it."""
    container = on.sidecar.get_wrapped_container()
    path = f"{container.attrs['Config']['WorkingDir']}/dapr-state.db"
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("", "-wal"):
            chunks, _ = container.get_archive(path + suffix)
            with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
                archive.extractall(folder, filter="data")
        with closing(sqlite3.connect(Path(folder) / "dapr-state.db")) as copy:
            pages, of = (copy.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
            return int(pages * of)


async def main(records: int) -> None:
    """Prints what each kind of record costs in each store."""
    with rig() as on:
        print(f"{on.describe({})}\n{records} records of each kind, keys of some 27 characters; bytes a record")
        async with on.service({}) as state, grpc.aio.insecure_channel(on.sidecar.grpc_target) as channel:
            dapr = api_service_v1.DaprStub(channel)  # type: ignore[no-untyped-call]  # the SDK has no types
            for store in ("redis", "postgresql", "sqlite"):
                kinds = Kinds(store=store, state=state, dapr=dapr)
                await kinds.lasting(["bench:first"], b"v")
                for size in (100, 10 * 1024):
                    for write in (kinds.plain, kinds.lasting, kinds.expiring, kinds.deleted):
                        grown = await measured(on, store, write, size, records)
                        print(f"{store:10} {size:6} B  {write.__name__:9} {grown:8.0f}")
            journals = on.redis.cli("KEYS", "*%keepstate/journal/*").split()
            taken = sum(memory(on, key) for key in journals)
            print(f"redis, beside expiring and deleted: {taken / (4 * records):.0f} of {len(journals)} journals")


async def measured(on: Rig, store: str, write: Write, size: int, records: int) -> float:
    """Leaves records of a kind, and returns how many bytes the store has for each."""
    label = write.__name__
    if store == "redis":
        await fill(write, label, size, records)
        return of_redis(on, label, size)
    in_use = of_postgresql if store == "postgresql" else of_sqlite
    before = in_use(on)
    await fill(write, label, size, records)
    return (in_use(on) - before) / records


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=5_000)
    asyncio.run(main(parser.parse_args().records // BATCH * BATCH))
