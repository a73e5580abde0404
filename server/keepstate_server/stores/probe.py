"""Runs checks on a live store, and leaves nothing behind."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from keepstate_server.stores.checks import QUICK, Bench, Check, CouldNotTell, Seen
from keepstate_server.stores.sidecar import Sidecar, SidecarError
from keepstate_server.stores.slow_checks import MEASURED, WAITING
from keepstate_server.stores.time_limit import TimeLimit

__all__ = ["Observation", "Prober"]

_log = structlog.get_logger(__name__)

_CLEANING_SECONDS = 5.0
_DELETES_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What one check saw."""

    check: str
    seen: str
    """A word or a few, to be compared with what was expected; "not seen": the check could not tell."""
    detail: str
    """More of it, for people. Holds no text of the sidecar's."""
    seconds: float
    """How long it took."""


class Prober:
    """Runs checks on the stores of one sidecar."""

    def __init__(self, sidecar: Sidecar) -> None:
        """Speaks to ``sidecar``."""
        self._sidecar = sidecar
        self._cleaning: set[asyncio.Task[None]] = set()

    async def look(self, store: str, *, timeout: float) -> list[Observation]:
        """Sees what must be known of a store before it is written: less than a hundred calls, and no waiting.

        Raises:
            CouldNotTell: the store is away, or took too long.
        """
        async with self._bench(store, timeout) as bench:
            return await _run_each(bench, QUICK)

    async def look_closely(self, store: str, *, timeout: float) -> list[Observation]:
        """Sees all that can be seen: some two hundred calls, 21 MiB to and fro, some four seconds for expiries.

        Raises:
            CouldNotTell: the store is away, or took too long.
        """
        async with self._bench(store, timeout) as bench:
            quick = await _run_each(bench, QUICK)
            waited = await _run_at_once(bench, WAITING)
            return [*quick, *waited, *[await _run_if_told(bench, *each) for each in MEASURED.items()]]

    async def close(self) -> None:
        """Waits until all keys are deleted of probes that have ended, which takes some seconds at most."""
        await asyncio.gather(*self._cleaning)

    @asynccontextmanager
    async def _bench(self, store: str, timeout: float) -> AsyncIterator[Bench]:
        bench = Bench(self._sidecar, store, secrets.token_hex(8), TimeLimit(timeout))
        try:
            yield bench
        finally:
            # Also where whoever asked for the probe has gone.
            task = asyncio.ensure_future(_delete_all(self._sidecar, store, bench.keys))
            self._cleaning.add(task)
            task.add_done_callback(self._cleaning.discard)
            await asyncio.shield(task)


async def _run_each(bench: Bench, checks: Mapping[str, Check]) -> list[Observation]:
    return [await _run(bench, *each) for each in checks.items()]


async def _run_at_once(bench: Bench, checks: Mapping[str, Check]) -> list[Observation]:
    running = [asyncio.ensure_future(_run_if_told(bench, *each)) for each in checks.items()]
    await asyncio.gather(*running, return_exceptions=True)  # all must have ended before their keys are deleted
    return [each.result() for each in running]


async def _run(bench: Bench, name: str, check: Check) -> Observation:
    began = time.perf_counter()
    seen = await check(bench)
    return Observation(check=name, seen=seen.word, detail=seen.detail, seconds=time.perf_counter() - began)


async def _run_if_told(bench: Bench, name: str, check: Check) -> Observation:
    """As ``_run``; that one check cannot tell leaves what the others saw, unless time is up."""
    try:
        return await _run(bench, name, check)
    except CouldNotTell as error:
        if not bench.limit.left:
            raise
        _log.warning("check could not tell", check=name, detail=str(error))
        seen = Seen(word="not seen", detail="the store did not answer; the service's log has more")
        return Observation(check=name, seen=seen.word, detail=seen.detail, seconds=0)


async def _delete_all(sidecar: Sidecar, store: str, keys: list[str]) -> None:
    room, limit = asyncio.Semaphore(_DELETES_AT_ONCE), TimeLimit(_CLEANING_SECONDS)

    async def delete(key: str) -> bool:
        async with room:
            try:
                await sidecar.delete(store, key, etag=None, timeout=limit.left)
            except SidecarError:
                return False
            return True

    done = await asyncio.gather(*map(delete, keys))
    if not all(done):
        # No warning: of a store that is away each look leaves one, and tells more of it elsewhere.
        _log.info("keys of a probe may be left", store=store, keys=done.count(False))
