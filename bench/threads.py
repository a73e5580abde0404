"""Programs without asyncio: 64 threads, by the synchronous client of each side."""

from __future__ import annotations

import asyncio
import os
import statistics
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from dapr.clients import DaprClient

from bench.load import Measured
from bench.measuring import FAILED, Bench
from bench.outcomes import Measure, Outcome
from bench.rounds import take_turns
from bench.rows import KEYS, VALUE
from bench.sides import Direct, Keepstate, Side
from keepstate import Bytes
from keepstate.sync import Client, State

__all__ = ["NAMES", "measured"]

NAMES = ("get by 64 threads", "put by 64 threads")
THREADS = 64

Call: TypeAlias = Callable[[str], Any]


async def measured(bench: Bench, name: str, store: str) -> Outcome:
    """Measures one of the rows on a store."""
    outcome = partial(Outcome, row=name, store=store, measure=Measure.RATE)
    client = Client(bench.service.address, codec=Bytes(), gather=bench.scale.gathering in {"both", "client"})
    value = os.urandom(VALUE)
    writers: dict[str, Side] = {"direct": Direct(bench.direct, store), "keepstate": Keepstate(bench.client, store)}
    try:
        with DaprClient(bench.on.sidecar.grpc_target) as direct:
            rounds = {}
            for side, call in _calls(name, direct, client.store(store), store, value).items():
                keys = [f"bench:{side}:{name.replace(' ', '-')}:{number:04}" for number in range(KEYS)]
                await writers[side].fill(keys, value)
                await asyncio.to_thread(run, call, keys, min(1.0, bench.scale.seconds))  # warms up
                rounds[side] = partial(asyncio.to_thread, run, call, keys, bench.scale.seconds)
            found = await take_turns(rounds, rounds=bench.scale.rounds, spent=partial(bench.spent, store))
    except FAILED as error:
        return outcome(missing=repr(error))
    finally:
        await asyncio.to_thread(client.close)  # it may not block a loop
    return outcome(figures=found.ratios(Measure.RATE, "keepstate", "direct"), found=found)


def _calls(name: str, direct: DaprClient, state: State[bytes], store: str, value: bytes) -> dict[str, Call]:
    """What a row calls on each side, with a key."""
    if name.startswith("get"):
        return {"direct": lambda key: direct.get_state(store, key), "keepstate": state.get}
    return {
        "direct": lambda key: direct.save_state(store, key, value),
        "keepstate": lambda key: state.put(key, value),
    }


def run(call: Call, keys: list[str], seconds: float) -> Measured:
    """Lets the threads call until the time is up.

    Raises:
        RuntimeError: a call failed.
    """
    times: list[list[float]] = [[] for _ in range(THREADS)]
    failed: list[Exception] = []
    until = time.perf_counter() + seconds

    def calls(number: int) -> None:
        at, now = number * 7919, time.perf_counter()
        try:
            while not times[number] or now < until:
                call(keys[at % len(keys)])
                at += 104_729
                after = time.perf_counter()
                times[number].append(after - now)
                now = after
        except Exception as error:  # noqa: BLE001 - it is raised below, in the thread that waits
            failed.append(error)

    began = time.perf_counter()
    threads = [threading.Thread(target=calls, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise RuntimeError("a call failed") from failed[0]
    all_times = [each for some in times for each in some]
    return Measured(
        operations=len(all_times), seconds=time.perf_counter() - began, latency=statistics.median(all_times)
    )
