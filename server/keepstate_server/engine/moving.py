"""Values on their way into the envelope and out of it, by the keys that other programs know them by."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from keepstate_server.domain.errors import KeepstateError
from keepstate_server.domain.names import RecordName, name_in_store
from keepstate_server.domain.operations import Touch
from keepstate_server.domain.records import KEEP_EXPIRY, Expiry, Record
from keepstate_server.domain.times import Clock, Instant
from keepstate_server.engine.deadline import Deadline
from keepstate_server.engine.death import STALE
from keepstate_server.engine.engine import Engine
from keepstate_server.engine.envelope import Envelope, Location, decode, encode
from keepstate_server.engine.reads import read_one
from keepstate_server.engine.resolver import Resolver
from keepstate_server.engine.settings import EngineSettings
from keepstate_server.engine.sighting import Raw, Sighting
from keepstate_server.stores.base import CompareAndSet, Fate, Outcome, StateStore, Stored, StoreEtag, Stores

__all__ = ["Mover", "Standing"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """What stands under a key, as of one reading. An intent was settled, though it may still stand there."""

    sighting: Sighting
    record: Record | None
    """None: there is no record, though something dead may stand there."""
    seen_at: Instant

    @property
    def plain(self) -> bool:
        """Whether it is another program's value, without an envelope."""
        return isinstance(self.sighting.content, Raw)


class Mover:
    """Moves values of one store. Keys are the store's."""

    def __init__(
        self,
        engine: Engine,
        stores: Stores,
        store: StateStore,
        *,
        settings: EngineSettings,
        clock: Clock,
        source: random.Random | None = None,
    ) -> None:
        """Works on ``store``, one of ``stores`` that ``engine`` works on by the same ``settings``."""
        self._engine = engine
        self._store = store
        self._clock = clock
        self._resolver = Resolver(stores, settings=settings, clock=clock, source=source or random.SystemRandom())

    @property
    def tells_expiry(self) -> bool:
        """Whether the store tells when plain values expire."""
        return self._store.tells_expiry

    async def look(self, keys: Sequence[str], deadline: Deadline) -> dict[str, Standing] | None:
        """Returns what stands under each key, certain of every absence. None: some cannot be read."""
        found = await self._resolver.read([Location(self._store.name, key) for key in keys], deadline)
        if found is None:
            return None
        now = self._clock.now()
        return {at.key: Standing(sighting=each, record=each.record(now), seen_at=now) for at, each in found.items()}

    async def adopt(
        self, values: Mapping[str, Standing], expiry: Expiry, deadline: Deadline
    ) -> dict[str, KeepstateError]:
        """Gives plain values their envelope, each if it still is the one that was seen. Etags stay.

        Each then expires at ``expiry``, or as the store told that it would. Returns what failed, by key; what it says
        of ``Unavailable`` and the like may pass.
        """
        operations = []
        for key, value in values.items():
            assert value.record is not None
            namespace, name = name_in_store(key)
            operations.append(
                Touch(
                    name=RecordName(store=self._store.name, namespace=namespace, key=name),
                    precondition=value.record.version,
                    expire_at=value.record.expire_time if expiry is KEEP_EXPIRY else expiry,
                )
            )
        results = await self._engine.perform_all(operations, deadline)
        return {key: each for key, each in zip(values, results, strict=True) if isinstance(each, KeepstateError)}

    async def export(self, records: Mapping[str, Standing], deadline: Deadline) -> set[str]:
        """Puts each record's value in the place of its envelope, if that is still the one that was seen.

        The rest of its life is then the store's affair. Returns the keys that others certainly wrote before; whether
        the rest was done, the next look tells.
        """
        refused = await asyncio.gather(*(self._export(key, each, deadline) for key, each in records.items()))
        return {key for key, each in zip(records, refused, strict=True) if each}

    @staticmethod
    def looks_enveloped(value: bytes) -> bool:
        """Says whether ``value``, standing by itself, would be taken for an envelope."""
        return decode(value) is not None

    async def _export(self, key: str, seen: Standing, deadline: Deadline) -> bool:
        assert seen.record is not None
        now = self._clock.now()
        expires = seen.record.expire_time
        if now - seen.seen_at > STALE or (expires is not None and expires <= now):
            return False
        life = None if expires is None else timedelta(milliseconds=expires - now)
        write = CompareAndSet(key=key, etag=seen.sighting.etag, data=seen.record.value, keep_for=life)
        if life is not None and not self._store.tells_expiry:
            # Nobody could see afterwards whether the ttl took effect: so the envelope has it before the value comes,
            # and whoever finds the envelope begins anew.
            lasting = await self._last(replace(write, data=_stored(seen.sighting)), deadline)
            if isinstance(lasting, Outcome):
                return lasting.fate is Fate.REFUSED
            write = replace(write, etag=lasting)
        outcome = await self._store.write_alone(write, timeout=deadline.remaining)
        return outcome.fate is Fate.REFUSED

    async def _last(self, write: CompareAndSet, deadline: Deadline) -> StoreEtag | Outcome:
        """Returns the etag under which an envelope stands that certainly has its ttl, or what came of the write."""
        outcome = await self._store.write_alone(write, timeout=deadline.remaining)
        if outcome.fate is not Fate.APPLIED:
            return outcome
        found = await read_one(self._store, write.key, timeout=deadline.remaining)
        if isinstance(found, Stored) and found.data == write.data:
            return found.etag
        return Outcome(fate=Fate.UNCERTAIN)


def _stored(sighting: Sighting) -> bytes:
    assert isinstance(sighting.content, Envelope)
    return encode(sighting.content)
