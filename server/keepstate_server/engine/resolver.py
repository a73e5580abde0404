"""What whoever meets an intent does: finds out what became of its transaction, or decides it.

A transaction's coordinator may have died at any point. Nothing but the outcome's record says whether its writes count;
until there is one, neither version of a record may be told to anybody. docs/records.md has the rules and their reasons.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import structlog

from keepstate_server.domain.errors import KeepstateError
from keepstate_server.domain.records import Consistency
from keepstate_server.domain.times import Clock
from keepstate_server.engine.deadline import Deadline, pause
from keepstate_server.engine.death import STALE
from keepstate_server.engine.envelope import Decision, Envelope, Intent, Location
from keepstate_server.engine.outcomes import Outcomes
from keepstate_server.engine.settings import EngineSettings
from keepstate_server.engine.sighting import Sighting, seen
from keepstate_server.engine.trail import WriteId
from keepstate_server.engine.writes import compare_and_set
from keepstate_server.stores.base import Absence, Failure, Fate, ReadResult, Stores

__all__ = ["Resolver"]

_log = structlog.get_logger(__name__)

# How long an intent that was laid by itself is left to its coordinator; sooner, readers would starve slow transactions.
_PATIENCE = 1.0  # seconds

_DECISIONS = 1_000


class Resolver:
    """Reads records of any stores, and settles the intents that it meets."""

    def __init__(self, stores: Stores, *, settings: EngineSettings, clock: Clock, source: random.Random) -> None:
        """Works on ``stores``; ``source`` makes pauses."""
        self._stores = stores
        self._settings = settings
        self._clock = clock
        self._source = source
        self.outcomes = Outcomes(stores, settings=settings, clock=clock, source=source)
        # An outcome never changes: those known need not be read again.
        self._known: OrderedDict[WriteId, Decision] = OrderedDict()

    async def read(self, locations: Iterable[Location], deadline: Deadline) -> dict[Location, Sighting] | None:
        """Reads records, certain of every absence, with no intent left. None: some cannot be read."""
        found = await self.look(locations, deadline)
        if found is None:
            return None
        settled = await self.settle(found, deadline)
        return settled if len(settled) == len(found) else None

    async def look(self, locations: Iterable[Location], deadline: Deadline) -> dict[Location, Sighting] | None:
        """Reads records as they stand, with their intents, certain of every absence. None: some cannot be read."""
        by_store = [(store, [each.key for each in its]) for store, its in groupby(sorted(locations), lambda at: at[0])]
        reads = await asyncio.gather(*(self._look_in(store, keys, deadline) for store, keys in by_store))
        found: dict[Location, Sighting] = {}
        for (store, _), results in zip(by_store, reads, strict=True):
            for key, result in results.items():
                if isinstance(result, Failure):
                    _log.warning("read failed", store=store, detail=result.detail)
                    return None
                found[Location(store, key)] = result
        return found

    async def settle(self, found: Mapping[Location, Sighting], deadline: Deadline) -> dict[Location, Sighting]:
        """Returns what was ``found`` without intents; what cannot be settled in time is not among it."""
        result = {at: sighting for at, sighting in found.items() if sighting.intent is None}
        todo = {at: sighting for at, sighting in found.items() if sighting.intent is not None}
        began = asyncio.get_running_loop().time()
        tries = 0
        while todo:
            waited = asyncio.get_running_loop().time() - began
            decided = await self._decide_all(todo, waited, deadline)
            now = self._clock.now()
            for at, sighting in list(todo.items()):
                if sighting.intent and (decision := decided.get(sighting.intent.transaction)):
                    result[at] = sighting.settled(decision, now)
                    del todo[at]
            if not todo or deadline.over:
                break
            tries += 1
            await deadline.sleep(pause(tries + 1, self._source))
            again = await self.look(todo, deadline) or {}
            result |= {at: sighting for at, sighting in again.items() if sighting.intent is None}
            todo = {at: again.get(at, sighting) for at, sighting in todo.items() if at not in result}
        return result

    async def replace(self, settled: Mapping[Location, Sighting], deadline: Deadline) -> bool:
        """Writes what ``settle`` returned over the intents; says whether all was certainly applied."""
        by_store = groupby(sorted(settled), lambda at: at.store)
        replacing = [
            self._replace_in(store, [(at.key, settled[at]) for at in its], deadline) for store, its in by_store
        ]
        return all(await asyncio.gather(*replacing))

    def remember(self, transaction: WriteId, decision: Decision) -> None:
        """Notes what stands in the outcome of ``transaction``."""
        self._known[transaction] = decision
        if len(self._known) > _DECISIONS:
            self._known.popitem(last=False)

    async def _look_in(self, store: str, keys: Sequence[str], deadline: Deadline) -> Mapping[str, Sighting | Failure]:
        found: dict[str, ReadResult] = {}
        try:
            where = await self._stores.find(store, timeout=deadline.remaining)
        except KeepstateError as error:
            return dict.fromkeys(keys, Failure(detail=error.reason.value))
        for sure in (False, True):
            ask = [key for key in keys if found.get(key, Absence.LIKELY) is Absence.LIKELY]
            if ask and not any(isinstance(each, Failure) for each in found.values()):
                found |= await where.read(ask, consistency=Consistency.STRONG, sure=sure, timeout=deadline.remaining)
        return {
            key: each if isinstance(each, Failure) else seen(each, shared=where.shared) for key, each in found.items()
        }

    async def _decide_all(
        self, todo: Mapping[Location, Sighting], waited: float, deadline: Deadline
    ) -> Mapping[WriteId, Decision]:
        """Returns what became of each transaction whose intents are among ``todo``, where that is known by now."""
        met: dict[WriteId, tuple[Intent, Location]] = {}
        for at, sighting in todo.items():
            if sighting.intent:
                met.setdefault(sighting.intent.transaction, (sighting.intent, at))
        decided = await asyncio.gather(*(self._decide(intent, at, waited, deadline) for intent, at in met.values()))
        return {transaction: each for transaction, each in zip(met, decided, strict=True) if each is not None}

    async def _decide(self, intent: Intent, at: Location, waited: float, deadline: Deadline) -> Decision | None:
        """Returns what became of the transaction of ``intent``, met at ``at``. None: look again, it may be gone."""
        if known := self._known.get(intent.transaction):
            return known
        stands = await self.outcomes.read(intent.outcome_store, intent.transaction, timeout=deadline.remaining)
        if stands is None:
            wanted = await self._wanted(intent, at, waited, deadline)
            if wanted is None or deadline.over:
                return None
            standing = await self.outcomes.decide(
                intent.outcome_store, intent.transaction, wanted, intent.time, deadline
            )
            stands = standing.decision if standing else None
        if not isinstance(stands, Decision):
            return None
        self.remember(intent.transaction, stands)
        return stands

    async def _wanted(self, intent: Intent, at: Location, waited: float, deadline: Deadline) -> Decision | None:
        """Returns how a transaction without outcome is to be decided; None: not yet, or the intent is not there now."""
        age = self._clock.now() - intent.time
        if not intent.isolated and waited < _PATIENCE and age < 1000 * _PATIENCE + self._settings.clock_difference_ms:
            return None
        records = await self.look(intent.records if intent.isolated else [at], deadline)
        if records is None or not records[at].carries(intent.transaction):
            return None  # else a decision might be made for a second time, when the first is not kept any more
        # Laid in one step: if all are there, all compares held at that moment. It may have come late: what was tested
        # must not have expired since.
        now = self._clock.now()
        whole = intent.isolated and all(
            each.carries(intent.transaction) and not each.expired_between(intent.time, now) for each in records.values()
        )
        return Decision.COMMITTED if whole else Decision.ABORTED

    async def _replace_in(self, store: str, settled: Sequence[tuple[str, Sighting]], deadline: Deadline) -> bool:
        try:
            where = await self._stores.find(store, timeout=deadline.remaining)
            if await where.prepare(timeout=deadline.remaining) is not None or deadline.over:
                return False
            now = self._clock.now()
            writes = [
                compare_and_set(key, sighting.etag, sighting.content, now, self._settings)
                for key, sighting in settled
                if isinstance(sighting.content, Envelope) and now - sighting.content.write_time <= STALE
            ]
            outcomes = await where.write(writes, timeout=deadline.remaining) if writes else []
        except KeepstateError:
            return False
        return len(outcomes) == len(settled) and all(outcome.fate is Fate.APPLIED for outcome in outcomes)
