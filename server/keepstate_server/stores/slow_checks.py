"""What a live store is seen to do that takes its time, or sends much: for whoever asks, not for each start."""

import asyncio
import statistics
import time

from keepstate_server.stores.base import StoreEtag
from keepstate_server.stores.checks import Bench, Check, CouldNotTell, Seen, two_versions, with_etag
from keepstate_server.stores.sidecar import StateItem

__all__ = ["MEASURED", "WAITING"]

_TTL = 2
_AFTER = 1.5
"""How long after its end a ttl must have taken effect. Some stores look for what has expired once a second."""
_ASK_AGAIN = 0.2
_ASK_TIMES = 50

_sleep = asyncio.sleep  # so that tests need not wait

_MIB = 1024 * 1024
_SIZES = (1, 5, 15)

# The longest key that a name becomes: 128 bytes of namespace and 512 of key, each percent-encoded, and "/".
_LONGEST_KEY = 3 * 128 + 1 + 3 * 512

_WRITERS = 16
_SAMPLES = 20


async def one_winner(bench: Bench) -> Seen:
    """Whether of many saves at once with the same etag exactly one is applied."""
    key = bench.key()
    await bench.put(key)
    etag = await bench.etag(key)
    saves = (bench.refusal_of_save(with_etag(key, etag, b"%d" % number)) for number in range(_WRITERS))
    won = (await asyncio.gather(*saves)).count("")
    if not won:
        raise CouldNotTell("not one of many saves with the present etag was applied")
    return Seen(word="yes" if won == 1 else "no", detail=f"of {_WRITERS} saves at once with one etag {won} applied")


async def expiry(bench: Bench) -> Seen:
    """Whether a value goes when its ttl is over, and whether reads show when."""
    key = bench.key()
    await bench.put(key, ttl=_TTL)
    found = await bench.get(key)
    shown = found is not None and found.expire_time is not None
    for _ in range(_ASK_TIMES):
        if found is None:
            told = "shown" if shown else "not shown"
            return Seen(word=told, detail=f"gone when its ttl was over; by reads that is {told} before")
        await _sleep(_ASK_AGAIN)
        found = await bench.get(key)
    return Seen(word="never", detail=f"still there {_ASK_TIMES * _ASK_AGAIN:.0f} s after a ttl of {_TTL} s was set")


async def earlier_ttl(bench: Bench) -> Seen:
    """Whether a save without ttl clears the one that an earlier save set."""
    return await _ttl_then(bench, None)


async def ttl_minus_one(bench: Bench) -> Seen:
    """Whether a save with ttl -1 clears the one that an earlier save set."""
    return await _ttl_then(bench, -1)


async def _ttl_then(bench: Bench, ttl: int | None) -> Seen:
    key, clock = bench.key(), asyncio.get_running_loop().time
    began = clock()
    await bench.put(key, ttl=_TTL)
    if refused := await bench.refusal_of_save(with_etag(key, None, ttl=ttl)):
        return Seen(word="refused", detail=refused)
    if clock() - began > _TTL / 2:
        raise CouldNotTell("the store is too slow for this")
    await _sleep(_TTL + _AFTER)
    return Seen(word="cleared" if await bench.get(key) is not None else "stays")


async def atomic_expiry(bench: Bench) -> Seen:
    """Whether a refused operation of a transaction leaves the expiry alone of what stands there."""
    key = bench.key()
    old, _ = await two_versions(bench, key)
    refused = await bench.refusal_of_transaction(with_etag(key, old, b"stale", ttl=_TTL))
    if refused == "UNIMPLEMENTED":
        return Seen(word="no transactions", detail=refused)
    await _sleep(_TTL + _AFTER)
    if await bench.get(key) is None:
        return Seen(word="no", detail="a refused operation's ttl removed what another had written")
    return Seen(word="yes", detail="a refused operation's ttl does nothing")


async def component_ttl(bench: Bench) -> Seen:
    """Whether what is saved without ttl expires, because the component has a ttl of its own."""
    plain, earlier = bench.key(), bench.key()
    await bench.put(plain)
    found = await bench.get(plain)
    if found is not None and found.expire_time is not None:
        return Seen(word="set", detail="reads show an expiry that nobody asked for")
    await bench.put(earlier, ttl=_TTL)
    dated = await bench.get(earlier)
    if dated is not None and dated.expire_time is not None:
        return Seen(word="none", detail="reads show none")
    await bench.put(earlier)
    await _sleep(_TTL + _AFTER)
    if await bench.get(plain) is None:
        return Seen(word="set", detail=f"what was saved without ttl was gone within {_TTL + _AFTER} s")
    if await bench.get(earlier) is None:
        return Seen(word="none", detail="a save without ttl sets none: it leaves an earlier one standing")
    return Seen(word="likely", detail="a save without ttl ends an earlier one, as a ttl of the component's own does")


async def keys(bench: Bench) -> Seen:
    """Whether the longest key that a name becomes is kept, with all that keys may hold."""
    ending = " é€😀%2F%25/"
    key = bench.key(ending)
    bench.keys[-1] = key = key + "k" * (_LONGEST_KEY - len(key.encode()))
    if refused := await bench.refusal_of_save(StateItem(key=key, value=b"1", etag=None)):
        return Seen(word="refused", detail=refused)
    alone, found = await bench.get(key), await bench.get_bulk([key, bench.key()])
    kept = alone is not None and key in found and found[key].stored == alone
    return Seen(word="kept" if kept else "lost", detail=f"{_LONGEST_KEY} bytes")


async def sizes(bench: Bench) -> Seen:
    """How large a value may be."""
    largest = 0
    for size in _SIZES:
        key, value = bench.key(), bytes(range(256)) * (size * _MIB // 256)
        if await bench.refusal_of_save(StateItem(key=key, value=value, etag=None)):
            break
        found = await bench.get(key)
        if found is None or found.data != value:
            break
        largest = size
        await bench.delete(key)
    tried = ", ".join(str(size) for size in _SIZES)
    return Seen(word=f"{largest} MiB", detail=f"the largest of {tried} MiB that came back")


async def latency(bench: Bench) -> Seen:
    """How long a read and a compare-and-set take."""
    key, clock = bench.key(), time.perf_counter  # uvloop's own clock counts milliseconds
    await bench.put(key)
    reads, writes = [], []
    for _ in range(_SAMPLES):
        began = clock()
        etag: StoreEtag = await bench.etag(key)
        reads.append(clock() - began)
        began = clock()
        await bench.save(with_etag(key, etag))
        writes.append(clock() - began)
    return Seen(word="measured", detail=f"read {_spread(reads)}; write {_spread(writes)}")


def _spread(samples: list[float]) -> str:
    return f"{1000 * statistics.median(samples):.1f} ms as a rule, {1000 * max(samples):.1f} ms at most"


async def eviction(_: Bench) -> Seen:
    """Nothing: no call of Dapr tells of it."""
    return Seen(
        word="not seen", detail="not visible through Dapr; no store may evict: Redis needs maxmemory-policy noeviction"
    )


WAITING: dict[str, Check] = {
    "one winner": one_winner,
    "expiry": expiry,
    "ttl of an earlier write": earlier_ttl,
    "ttl -1": ttl_minus_one,
    "atomic expiry": atomic_expiry,
    "component's ttl": component_ttl,
    "long keys": keys,
}
"""Those that mostly wait: all at once."""

MEASURED: dict[str, Check] = {"largest value": sizes, "latency": latency, "eviction": eviction}
"""Those that would disturb each other."""
