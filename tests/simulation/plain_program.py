"""Another program that writes and deletes the same records through Dapr, and knows nothing of Keepstate."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence

from keepstate_server.domain.names import RecordName
from keepstate_server.domain.operations import Written
from keepstate_server.domain.records import VERSION_BYTES, Version
from keepstate_server.engine.sighting import Raw, seen
from tests.simulation.clients import Pool
from tests.simulation.history import Attempt, Call, Kind, Spec
from tests.simulation.stores import SimStore

__all__ = ["delete_plainly", "write_plainly", "write_plainly_at_random"]

_PLAIN = -1  # its number among the clients, and the instance that it asks


def write_plainly(pool: Pool, store: SimStore, name: RecordName, value: bytes) -> None:
    """Puts ``value`` there, at this moment."""
    store.put_raw(name.key, value, None)
    stored = store.read(name.key)
    assert stored is not None
    content = seen(stored).content
    assert isinstance(content, Raw)
    pool.saw(name, content.version)
    _note(pool, Spec(name=name, kind=Kind.PUT, value=value), Written(version=content.version))


def delete_plainly(pool: Pool, store: SimStore, name: RecordName) -> None:
    """Leaves nothing there, at this moment. Dapr does not say whether something was."""
    store.items.pop(name.key, None)
    _note(pool, Spec(name=name, kind=Kind.DELETE), Written(version=Version(bytes(VERSION_BYTES))))


async def write_plainly_at_random(
    pool: Pool,
    stores: Mapping[str, SimStore],
    names: Sequence[RecordName],
    chance: random.Random,
    *,
    times: int,
    pause: float,
    deletes: float,
) -> None:
    """Writes so many times, at most ``pause`` seconds apart, and deletes instead in the share ``deletes`` of them."""
    for _ in range(times):
        await asyncio.sleep(chance.random() * pause)
        name = chance.choice(names)
        if chance.random() < deletes:
            delete_plainly(pool, stores[name.store], name)
        else:
            write_plainly(pool, stores[name.store], name, b"raw-%d" % next(pool.values))


def _note(pool: Pool, spec: Spec, result: Written) -> None:
    now = asyncio.get_running_loop().time()
    attempt = Attempt(start=now, end=now, instance=_PLAIN, results=[result], expiries=[None])
    pool.history.calls.append(Call(number=len(pool.history.calls), client=_PLAIN, specs=[spec], attempts=[attempt]))
