"""What memory a worker takes at rest, and with ten thousand callers at once: `python -m bench.memory`."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from bench.rig import Rig, rig
from keepstate.v1 import record_pb2, state_service_pb2, state_service_pb2_grpc

__all__ = ["Memory", "Peak", "measure"]

pb = state_service_pb2
Stub: TypeAlias = "state_service_pb2_grpc.StateServiceAsyncStub"  # of the stubs' types alone

_CALLERS, _CONNECTIONS, _VALUE_BYTES = 10_000, 50, 64 * 1024
_KEYS = 100
_MEBIBYTE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Peak:
    """One wave of calls, all sent at once."""

    calls: str
    peak_mib: float
    """The most that was resident while it ran."""
    after_mib: float
    seconds: float
    outcomes: Mapping[str, int]
    """How many calls ended so: "OK", or the code and the limit that was named."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Of one worker, in MiB."""

    rest_mib: float
    """Resident."""
    rest_own_mib: float
    """Its part of that where pages are shared in equal parts by those who use them (PSS)."""
    peaks: list[Peak]


async def measure(
    on: Rig, *, callers: int = _CALLERS, value_bytes: int = _VALUE_BYTES, settings: Mapping[str, str] | None = None
) -> Memory:
    """Measures a service of one worker beside the rig's sidecar, with the default store redis."""
    process = on.process({"KEEPSTATE_WORKERS": "1", "KEEPSTATE_DEFAULT_STORE": "redis", **(settings or {})})
    try:
        await asyncio.to_thread(process.start)
        pid = process.process.pid
        async with AsyncExitStack() as stack:
            stubs = [
                state_service_pb2_grpc.StateServiceStub(
                    await stack.enter_async_context(grpc.aio.insecure_channel(process.address, options=_OPTIONS))
                )
                for _ in range(_CONNECTIONS)
            ]
            await _put(stubs[0], 0, b"")  # the store was looked at, and the first connection is there
            rest, own = _kib(pid, "status", "VmRSS"), _kib(pid, "smaps_rollup", "Pss")
            value = bytes(value_bytes)
            peaks = [
                await _wave(pid, "puts", callers, stubs, lambda stub, number: _put(stub, number, value)),
                await _wave(pid, "gets", callers, stubs, _get),
                await _wave(pid, "batches of 10 gets", callers, stubs, _batch),
            ]
        return Memory(rest_mib=rest, rest_own_mib=own, peaks=peaks)
    finally:
        process.close()


_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),  # else all would share one connection
    ("grpc.max_receive_message_length", 16 * _MEBIBYTE),
]


class _PartFailed(Exception):
    """An operation of a batch failed."""


async def _put(stub: Stub, number: int, value: bytes) -> None:
    await stub.Put(pb.PutRequest(name=_name(number), value=value), timeout=60)


async def _get(stub: Stub, number: int) -> None:
    await stub.Get(pb.GetRequest(name=_name(number)), timeout=60)


async def _batch(stub: Stub, number: int) -> None:
    gets = [pb.BatchOperation(get=pb.GetRequest(name=_name(number + each))) for each in range(10)]
    response = await stub.Batch(pb.BatchRequest(operations=gets), timeout=60)
    failed = [each.error.message for each in response.results if each.HasField("error")]
    if failed:
        raise _PartFailed(failed[0])


def _name(number: int) -> record_pb2.RecordName:
    return record_pb2.RecordName(key=f"memory:{number % _KEYS}")


async def _wave(
    pid: int, calls: str, callers: int, stubs: list[Stub], call: Callable[[Stub, int], Awaitable[None]]
) -> Peak:
    await asyncio.to_thread(Path(f"/proc/{pid}/clear_refs").write_text, "5")  # the peak begins anew
    began = time.perf_counter()
    ended = await asyncio.gather(*(_outcome(call(stubs[each % len(stubs)], each)) for each in range(callers)))
    return Peak(
        calls=calls,
        peak_mib=_kib(pid, "status", "VmHWM"),
        after_mib=_kib(pid, "status", "VmRSS"),
        seconds=round(time.perf_counter() - began, 1),
        outcomes=dict(Counter(ended)),
    )


async def _outcome(call: Awaitable[None]) -> str:
    try:
        await call
    except _PartFailed as error:
        return f"in part: {error}"
    except grpc.aio.AioRpcError as error:
        status = rpc_status.from_call(error)
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        for detail in status.details if status is not None else ():
            detail.Unpack(info)
            detail.Unpack(retry)
        waits = " with RetryInfo" if retry.HasField("retry_delay") else ""
        return f"{error.code().name}: {info.reason or 'no reason'}, {error.details()}{waits}"
    return "OK"


def _kib(pid: int, file: str, name: str) -> float:
    """A line of a process's file that tells of memory, in MiB."""
    for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise KeyError(name)


def main() -> None:
    """Prints what was measured, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--callers", type=int, default=_CALLERS)
    parser.add_argument("--value-bytes", type=int, default=_VALUE_BYTES)
    arguments = parser.parse_args()
    with rig() as on:
        print(on.describe({}))
        measured = asyncio.run(measure(on, callers=arguments.callers, value_bytes=arguments.value_bytes))
        print(json.dumps(asdict(measured), indent=1))


if __name__ == "__main__":
    main()
