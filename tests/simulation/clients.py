"""Clients that ask at random, repeat what they did not hear of, lose patience, and note it all."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from keepstate_server.domain.errors import PreconditionFailed
from keepstate_server.domain.names import RecordName
from keepstate_server.domain.operations import Append, Change, Found, Increment, MergePatch, Updated, Written
from keepstate_server.domain.records import ABSENT, EXISTS, Precondition, Record, Version
from keepstate_server.domain.records import version_of as version_of_etag
from keepstate_server.engine.draft import Result
from tests.simulation.asks import Instance, ask
from tests.simulation.clocks import OffsetClock
from tests.simulation.history import Attempt, Call, Claim, History, Kind, Spec, claim_of
from tests.simulation.values import Form, unique

__all__ = ["Client", "Habits", "Pool"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Habits:
    """What clients do how often."""

    names: Sequence[RecordName]
    calls: int
    thinks: Sequence[float]
    """Longest pauses before a call, one of which is taken; seconds."""
    ttls: Sequence[int]
    slides: float = 0.25
    """The share of calls whose reads slide the expiry; such reads carry no request."""
    batches: float = 0.2
    transactions: float = 0.0
    snapshots: float = 0.0
    updates: float = 0.0
    forms: Sequence[Form] = (Form.TEXT,)
    """Of the records' values, in the order of their names, over and over."""
    named: float = 0.9
    """The share of writes that carry a request."""
    doubts: float = 0.1
    """The share of answered calls that are sent again all the same."""
    patience: float = 1.0
    """The share of calls that are waited for to the end."""
    beside: float = 0.0
    """The share of calls that are sent again while the first attempt still runs."""
    transit: float = 0.01
    """How long a call takes to an instance at most; seconds."""
    deadlines: Sequence[float] = (10.0,)


@dataclass(kw_only=True)
class Pool:
    """What all clients share: the etags that were seen, and the history."""

    history: History
    versions: dict[RecordName, list[Version]] = field(default_factory=dict)
    values: count[int] = field(default_factory=lambda: count(1))

    def saw(self, name: RecordName, version: Version) -> None:
        known = self.versions.setdefault(name, [])
        if version not in known:
            known.append(version)


class Client:
    """One client, with a clock, a counter of requests and a source of chance of its own."""

    def __init__(
        self, number: int, pool: Pool, instances: Sequence[Instance], habits: Habits, offset: float, seed: str
    ) -> None:
        self._number = number
        self._pool = pool
        self._instances = instances
        self._habits = habits
        self._clock = OffsetClock(asyncio.get_running_loop(), offset)
        self._chance = random.Random(seed)
        self._requests = count(1)
        self._left: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Asks, until everything asked has ended."""
        for _ in range(self._habits.calls):
            longest = self._chance.choice(self._habits.thinks)
            await asyncio.sleep(self._chance.random() * longest)
            await self.issue(self._call())
        while self._left:
            await asyncio.wait(self._left)

    async def issue(self, call: Call, *, attempts: int = 4) -> None:
        """Sends ``call`` until it is answered or is given up."""
        chance, habits = self._chance, self._habits
        self._pool.history.calls.append(call)
        call.first_sent = self._clock.now()
        for number in range(attempts):
            sending = asyncio.get_running_loop().create_task(self._send(call, number))
            self._left.add(sending)
            sending.add_done_callback(self._left.discard)
            if number + 1 < attempts and call.request is not None and chance.random() < habits.beside:
                await asyncio.sleep(chance.random() * 0.05)
            elif chance.random() < habits.patience:
                await asyncio.wait((sending,))
            else:
                await asyncio.wait((sending,), timeout=chance.choice((0.01, 0.3, 3.0)) * chance.random())
                if chance.random() < 0.5:
                    sending.cancel()
            answered = _definite(call.attempts) and chance.random() >= habits.doubts
            if call.request is None or answered or chance.random() < 0.1:
                break
            await asyncio.sleep(chance.random() * chance.choice((0.01, 0.5, *habits.thinks)))

    async def _send(self, call: Call, number: int) -> None:
        chance, loop = self._chance, asyncio.get_running_loop()
        instance = chance.choice(self._instances)
        attempt = Attempt(start=loop.time(), instance=instance.number)
        seconds = chance.choice(self._habits.deadlines)
        call.attempts.append(attempt)
        await asyncio.sleep(chance.random() * self._habits.transit)
        await ask(instance, call, attempt, seconds, repeated=number > 0)
        for spec, result in zip(call.specs, attempt.results or (), strict=True):
            self._learn(spec.name, result)

    def _learn(self, name: RecordName, result: Result) -> None:
        match result:
            case Written(version=version):
                self._pool.saw(name, version)
            case Found(record=record) | Updated(record=Record() as record):
                self._pool.saw(name, record.version)
            case PreconditionFailed(etag=etag, name=other) if etag:
                self._pool.saw(other, version_of_etag(etag))
            case _:
                pass

    # What to ask

    def _call(self) -> Call:
        specs, transaction = self._specs()
        request = None
        reads = all(spec.kind in (Kind.GET, Kind.SLIDE, Kind.SNAPSHOT) for spec in specs)
        if not reads and self._chance.random() < self._habits.named:
            request = next(self._requests)
            for _ in specs[1:]:
                next(self._requests)
        return Call(
            number=len(self._pool.history.calls),
            client=self._number,
            specs=specs,
            transaction=transaction,
            request=request,
        )

    def _specs(self) -> tuple[Sequence[Spec], bool]:
        """Returns what to ask for, and whether as a transaction."""
        chance, habits = self._chance, self._habits
        roll = chance.random()
        if roll < habits.transactions:
            return [self._spec_in_transaction(name) for name in self._some_names()], True
        if roll < habits.transactions + habits.snapshots:
            return [Spec(name=name, kind=Kind.SNAPSHOT) for name in self._some_names()], False
        slides = chance.random() < habits.slides
        if chance.random() < habits.batches:
            count_of = chance.randint(2, 4)
            return [self._spec(chance.choice(habits.names), slides=slides) for _ in range(count_of)], False
        return [self._spec(chance.choice(habits.names), slides=slides)], False

    def _some_names(self) -> Sequence[RecordName]:
        names = self._habits.names
        fewest = min(self._chance.randint(1, 2), len(names))
        return self._chance.sample(names, self._chance.randint(fewest, len(names)))

    def _spec(self, name: RecordName, *, slides: bool) -> Spec:
        if self._chance.random() < self._habits.updates:
            return self._update(name)
        kind = self._chance.choices((Kind.PUT, Kind.GET, Kind.DELETE, Kind.TOUCH), (12, 6, 3, 2))[0]
        kind = Kind.SLIDE if slides and kind is Kind.GET else kind
        if kind is Kind.PUT:
            return self._put(name, self._demand(name))
        if kind in (Kind.GET, Kind.SLIDE):
            return Spec(
                name=name, kind=kind, ttl=self._chance.choice(self._habits.ttls) if kind is Kind.SLIDE else None
            )
        ttl = self._chance.choice((None, *self._habits.ttls)) if kind is Kind.TOUCH else None
        return Spec(name=name, kind=kind, precondition=self._demand(name), ttl=ttl)

    def _spec_in_transaction(self, name: RecordName) -> Spec:
        if self._chance.random() < self._habits.updates:
            return self._update(name)
        kind = self._chance.choices((Kind.PUT, Kind.DELETE, Kind.CHECK), (6, 2, 3))[0]
        # One demand that does not hold refuses the whole transaction: it demands little.
        demand = self._demand(name) if self._chance.random() < 0.4 else None
        if kind is Kind.PUT:
            return self._put(name, demand)
        if kind is Kind.CHECK and demand is None:
            demand = EXISTS
        return Spec(name=name, kind=kind, precondition=demand)

    def _put(self, name: RecordName, demand: Precondition) -> Spec:
        ttl, keep = self._expiry()
        return Spec(
            name=name,
            kind=Kind.PUT,
            value=unique(self._form(name), next(self._pool.values)),
            precondition=demand,
            ttl=ttl,
            keep=keep,
        )

    def _update(self, name: RecordName) -> Spec:
        ttl, keep = self._expiry()
        kind, change = self._change(self._form(name))
        demand = self._demand(name) if self._chance.random() < 0.3 else None
        return Spec(name=name, kind=kind, change=change, precondition=demand, ttl=ttl, keep=keep)

    def _change(self, form: Form) -> tuple[Kind, Change]:
        """Returns an update that fits values of ``form``; none fits a text."""
        chance, number = self._chance, next(self._pool.values)
        if form in (Form.TEXT, Form.NUMBER):
            initial, minimum, maximum = chance.choice((None, 7)), chance.choice((None, 0)), chance.choice((None, 9))
            bounds = {"minimum": minimum, "maximum": maximum} if chance.random() < 0.2 else {}
            return Kind.INCREMENT, Increment(delta=chance.choice((1, 1, 2, -1)), initial=initial, **bounds)
        if form is Form.LIST:
            items = tuple(b"%d" % each for each in (number, -number)[: chance.randint(1, 2)])
            return Kind.APPEND, Append(items=items, max_length=chance.choice((0, 0, 1, 3)))
        value = b"%d" % number if chance.random() < 0.8 else b"null"
        return Kind.MERGE, MergePatch(patch=b'{"%s":%s}' % (chance.choice((b"a", b"b")), value))

    def _form(self, name: RecordName) -> Form:
        """Returns the form that the record's values have, seldom another one."""
        if self._chance.random() < 0.05:
            return self._chance.choice(list(Form))
        return self._habits.forms[self._habits.names.index(name) % len(self._habits.forms)]

    def _expiry(self) -> tuple[int | None, bool]:
        """Returns a ttl, or whether the expiry is to be kept."""
        expiry = self._chance.choices((None, "ttl", "keep"), (6, 3, 1))[0]
        return self._chance.choice(self._habits.ttls) if expiry == "ttl" else None, expiry == "keep"

    def _demand(self, name: RecordName) -> Precondition:
        versions = self._pool.versions.get(name)
        roll = self._chance.random()
        if roll < 0.4:
            return None
        if roll < 0.55:
            return ABSENT
        if roll < 0.65 or not versions:
            return EXISTS
        return versions[-1] if roll < 0.93 else self._chance.choice(versions)


def _definite(attempts: Sequence[Attempt]) -> bool:
    results = attempts[-1].results
    return results is not None and all(claim_of(each) in (Claim.YES, Claim.NO) for each in results)
