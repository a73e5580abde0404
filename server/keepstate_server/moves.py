"""Lists of keys moved into the envelope or out of it: in batches, again and again until each is where it shall be.

A run keeps no state of its own: what stands under a key tells whether it was moved, so that a run which was cut off is
simply begun again.
"""

import asyncio
import hashlib
import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from itertools import islice

from keepstate_server.domain.errors import (
    DeadlineExceeded,
    OutcomeUnknown,
    Overloaded,
    PreconditionFailed,
    StoreUnavailable,
)
from keepstate_server.domain.names import name_in_store
from keepstate_server.domain.records import KEEP_EXPIRY, Expiry, KeepExpiry
from keepstate_server.domain.times import Clock, Instant, in_milliseconds
from keepstate_server.engine.deadline import Deadline, pause
from keepstate_server.engine.moving import Mover, Standing

__all__ = ["Direction", "Moves", "Report", "StoreAway"]

# How many keys are read and moved at a time: a value has a mebibyte as a rule at most.
_AT_ONCE = 32

# How long the calls for one batch may take, and how often a key is tried that others keep writing.
_PATIENCE = 10.0  # seconds
_TRIES = 8

# What an attempt may fail with that the next one may not.
_PASSING = (StoreUnavailable, DeadlineExceeded, OutcomeUnknown, Overloaded, PreconditionFailed)


class Direction(Enum):
    """Where values are moved."""

    INTO = "into the envelope"
    OUT_OF = "out of the envelope"


class StoreAway(Exception):
    """The store did not answer for longer than a run waits."""


class Checksum:
    """Of keys and values, in the order in which they were given."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, key: str, value: bytes) -> None:
        """Takes one record."""
        name = key.encode()
        self._hash.update(b"%d:%s%d:" % (len(name), name, len(value)))
        self._hash.update(value)

    def __str__(self) -> str:
        return self._hash.hexdigest()


@dataclass(kw_only=True)
class Report:
    """What came of the keys so far."""

    moved: int = 0
    """In a dry run: what would be moved."""
    already: int = 0
    absent: int = 0
    failed: int = 0
    before: Checksum = field(default_factory=Checksum)
    """Of the records that were found, whether they had to be moved or not."""
    after: Checksum = field(default_factory=Checksum)
    """Of the same records as they were read back."""

    @property
    def keys(self) -> int:
        """How many keys were looked at."""
        return self.moved + self.already + self.absent + self.failed


@dataclass(frozen=True, kw_only=True)
class _Tried:
    """What came of one attempt at some keys, as far as it tells."""

    expiry: Expiry
    """What adopted values were given."""
    faults: Mapping[str, str]
    """Why some can never be moved."""
    overtaken: Collection[str]
    """What others wrote before."""


class Moves:
    """One run over a list of keys."""

    def __init__(
        self,
        mover: Mover,
        direction: Direction,
        *,
        clock: Clock,
        clock_difference: timedelta,
        life: timedelta | KeepExpiry | None = KEEP_EXPIRY,
        report: Report,
        stopping: asyncio.Event,
        failed: Callable[[str, str], None],
        patience: float = 60.0,
    ) -> None:
        """Prepares to move values by ``mover``.

        Args:
            mover: of the store that the keys are of.
            direction: into the envelope or out of it.
            clock: of this instance.
            clock_difference: the most by which the store's clock differs from it.
            life: when adopted values expire: so long from now, as the store tells that they would, or never.
            report: is kept up to date.
            stopping: once it is set, the run ends after the present batch.
            failed: is told each key that was not moved, and why.
            patience: for how many seconds the store may be away.
        """
        self._mover = mover
        self._direction = direction
        self._clock = clock
        self._tolerance = in_milliseconds(clock_difference) + 1000  # the store counts in whole seconds
        self._life = life
        self._patience = patience
        self._tell_failed = failed
        self._stopping = stopping
        self._source = random.SystemRandom()
        self.report = report

    async def run(self, keys: Iterable[str], *, dry: bool, progress: Callable[[], None]) -> None:
        """Moves ``keys``, or only looks at them; ``progress`` is called after each batch.

        Raises:
            StoreAway: what was not reported yet was perhaps moved, perhaps not; run again.
        """
        left = iter(keys)
        while not self._stopping.is_set() and (batch := list(dict.fromkeys(islice(left, _AT_ONCE)))):
            await self._batch(list(self._named(batch)), dry=dry)
            progress()

    def _named(self, keys: Sequence[str]) -> Iterator[str]:
        for key in keys:
            try:
                name_in_store(key)
            except ValueError as fault:
                self._fail(key, str(fault))
            else:
                yield key

    async def _batch(self, keys: Sequence[str], *, dry: bool) -> None:
        found = await self._look(keys)
        for key in keys:
            if (record := found[key].record) is not None:
                self.report.before.add(key, record.value)
        last = dict(found)
        moving = {key: each for key, each in found.items() if self._is_to_be_moved(each)}
        self.report.absent += sum(each.record is None for each in found.values())
        self.report.already += sum(each.record is not None for each in found.values()) - len(moving)
        if dry:
            self.report.moved += len(moving)
        else:
            last |= await self._move(moving)
        for key in keys:
            if (record := last[key].record) is not None:
                self.report.after.add(key, record.value)

    async def _move(self, moving: Mapping[str, Standing]) -> dict[str, Standing]:
        """Moves values, and returns what stands there afterwards."""
        todo, last = dict(moving), dict(moving)
        for tries in range(_TRIES):
            if not todo:
                break
            await asyncio.sleep(pause(tries, self._source))
            tried = await self._try(todo)
            now = await self._look(list(todo))
            last |= now
            for key, before in list(todo.items()):
                if not self._is_to_be_moved(now[key]):
                    self._conclude(key, before, now[key], tried)
                    del todo[key]
                elif key in tried.faults:
                    self._fail(key, tried.faults[key])
                    del todo[key]
                else:
                    todo[key] = now[key]
        for key in todo:
            self._fail(key, "is still written by others, or the store does not take it")
        return last

    async def _try(self, todo: Mapping[str, Standing]) -> _Tried:
        """Moves each value if it still is the one that was seen."""
        if self._direction is Direction.INTO:
            life = self._life
            expiry = Instant(self._clock.now() + in_milliseconds(life)) if isinstance(life, timedelta) else life
            errors = await self._mover.adopt(todo, expiry, Deadline(_PATIENCE))
            return _Tried(
                expiry=expiry,
                faults={key: str(each) for key, each in errors.items() if not isinstance(each, _PASSING)},
                overtaken={key for key, each in errors.items() if isinstance(each, PreconditionFailed)},
            )
        faults = {
            key: "has a value that would be taken for an envelope"
            for key, each in todo.items()
            if each.record and self._mover.looks_enveloped(each.record.value)
        }
        exporting = {key: each for key, each in todo.items() if key not in faults}
        overtaken = await self._mover.export(exporting, Deadline(_PATIENCE))
        return _Tried(expiry=KEEP_EXPIRY, faults=faults, overtaken=overtaken)

    def _conclude(self, key: str, before: Standing, now: Standing, tried: _Tried) -> None:
        """Compares what was moved with what is there."""
        if now.record is None or before.record is None:
            self.report.absent += 1  # it expired or was deleted meanwhile
            return
        wanted = before.record.expire_time if tried.expiry is KEEP_EXPIRY else tried.expiry
        same = now.record.value == before.record.value
        if self._direction is Direction.INTO:
            same = same and now.record.version == before.record.version and now.record.expire_time == wanted
        else:
            same = same and self._expires_about(now, wanted)
        if same:
            self.report.moved += 1
        elif key in tried.overtaken:
            self.report.already += 1  # by others
        else:
            self._fail(key, "is not what was moved: it was written by others since; run again")

    def _expires_about(self, now: Standing, wanted: Instant | KeepExpiry | None) -> bool:
        """Says whether a plain value will expire when the record would have, as far as the store tells."""
        assert now.record is not None
        told = now.record.expire_time
        if not self._mover.tells_expiry:
            return True
        if told is None or not isinstance(wanted, int):
            return told is None and wanted is None
        return abs(told - wanted) <= self._tolerance

    def _is_to_be_moved(self, standing: Standing) -> bool:
        return standing.record is not None and standing.plain == (self._direction is Direction.INTO)

    async def _look(self, keys: Sequence[str]) -> dict[str, Standing]:
        if not keys:
            return {}
        limit = Deadline(self._patience)
        tries = 0
        while (found := await self._mover.look(keys, Deadline(min(_PATIENCE, limit.remaining)))) is None:
            if limit.over or self._stopping.is_set():
                raise StoreAway
            tries += 1
            await limit.sleep(pause(tries + 1, self._source))
        return found

    def _fail(self, key: str, reason: str) -> None:
        self.report.failed += 1
        self._tell_failed(key, reason)
