"""Several instances and clients on a store that loses, delays and doubts at random: no answer turns out wrong.

A small brother of the simulation to come; each history is the same in every run.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from keepstate_server.domain.errors import (
    DeadlineExceeded,
    KeepstateError,
    OutcomeUnknown,
    PreconditionFailed,
    RecordChanged,
    StoreUnavailable,
    TransactionConflict,
)
from keepstate_server.domain.operations import (
    Answer,
    Check,
    Delete,
    Deleted,
    Get,
    Put,
    Touch,
    TransactionOperation,
    Write,
    Written,
)
from keepstate_server.domain.records import ABSENT, EXISTS, Precondition, Request, Version, etag_of
from keepstate_server.domain.times import Instant
from keepstate_server.engine.engine import Engine
from keepstate_server.engine.envelope import Envelope, decode
from keepstate_server.engine.trail import FirstAnswer, WriteId, write_of
from keepstate_server.stores.base import StateStore
from tests.unit.server.cases import name
from tests.unit.server.hand import MINUTE, SECOND, SETTINGS, HandClock, HandDeadline, Requests, again
from tests.unit.server.model_store import ModelStore, ReadFault, WriteFault

KEYS = ("a", "b")
INSTANCES = 3
CLIENTS = 4
WRITES = 7


class Worst(ModelStore):
    """Picks its faults at random, and delivers late what is under way."""

    trouble: random.Random

    def plan(self) -> None:
        """Decides what becomes of the next call."""
        chance = self.trouble.random()
        if self.under_way and self.trouble.random() < 0.4:
            self.deliver()
        self.write_faults.clear()
        self.read_faults.clear()
        if chance < 0.35:
            # Components are set up so that their clients send nothing again: docs/stores.md.
            faults = [fault for fault in WriteFault if fault is not WriteFault.SENT_AGAIN]
            self.write_faults.append(self.trouble.choice(faults))
        if self.trouble.random() < 0.2:
            self.read_faults.append(self.trouble.choice([ReadFault.FAILS, ReadFault.BROKEN_OFF]))


@dataclass
class OneStore:
    store: ModelStore

    async def find(self, name: str, *, timeout: float) -> StateStore:
        return self.store


@dataclass
class Told:
    """What a client was told in the end of one request."""

    value: bytes
    """What it was to put: no other request puts the same."""
    request: Request | None
    operations: Sequence[TransactionOperation | Touch]
    result: Sequence[Answer] | KeepstateError
    standing: dict[str, Version | None]
    """The versions that stood when it was told."""
    attempts: int


@dataclass
class History:
    seed: int
    counts: bool
    clock: HandClock = field(default_factory=HandClock)
    told: list[Told] = field(default_factory=list)
    still_running: list[asyncio.Task[object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.store = Worst(clock=self.clock, counts=self.counts, source=random.Random(self.seed))
        self.store.trouble = random.Random(self.seed + 1)
        identifiers = random.Random(self.seed + 2)
        self.engines = [
            Engine(OneStore(self.store), settings=SETTINGS, clock=self.clock, source=identifiers)
            for _ in range(INSTANCES)
        ]

    async def run(self) -> None:
        await asyncio.gather(*(self.client(number + 1) for number in range(CLIENTS)))
        await asyncio.gather(*self.still_running)
        for engine in self.engines:
            await engine.drain(timeout=5)
        self.store.deliver()

    async def client(self, number: int) -> None:
        requests = Requests(self.clock, number)
        known: dict[str, Version | None] = {}
        for _ in range(WRITES):
            await self.wait()
            key = self.random.choice(KEYS)
            request = requests.new()
            mine = f"{number}/{request.number}".encode()
            operations: Sequence[TransactionOperation | Touch]
            if not self.counts and self.random.random() < 0.25:
                operations = [self.part(each, known, mine) for each in self.random.sample(KEYS, 2)]
            else:
                operations = [self.write(key, known, mine)]
            attempts = 1
            if self.random.random() < 0.3:
                anonymous = await self.ask(operations, None)
                self.told.append(Told(mine, None, operations, anonymous, self.stands(), attempts))
                continue
            if self.random.random() < 0.2:
                # The client does not wait for the answer: its repeats run beside the first attempt.
                self.still_running.append(asyncio.create_task(self.ask(operations, request)))
                result: Sequence[Answer] | KeepstateError = OutcomeUnknown()
            else:
                result = await self.ask(operations, request)
            while self.to_be_repeated(result) and attempts < 4:
                attempts += 1
                await self.wait()
                result = await self.ask(operations, again(request))
            self.told.append(Told(mine, request, operations, result, self.stands(), attempts))
            for each in operations:
                known[each.name.key] = self.random.choice([self.stands()[each.name.key], known.get(each.name.key)])

    async def wait(self) -> None:
        for _ in range(self.random.randrange(8)):
            await asyncio.sleep(0)
        self.clock.advance(self.random.choice([0, 1, 200, 2 * SECOND]))

    def to_be_repeated(self, result: object) -> bool:
        if isinstance(result, OutcomeUnknown):
            return True
        if isinstance(result, StoreUnavailable | DeadlineExceeded | TransactionConflict):
            return self.random.random() < 0.7
        return self.random.random() < 0.2  # the answer was lost on its way to the client

    def condition(self, key: str, known: dict[str, Version | None]) -> Precondition:
        return self.random.choice([None, ABSENT, EXISTS, known.get(key), known.get(key), known.get(key)])

    def expiry(self) -> Instant | None:
        after = self.random.choice([None, None, 500, MINUTE])
        return None if after is None else Instant(self.clock.now() + after)

    def write(self, key: str, known: dict[str, Version | None], mine: bytes) -> Write:
        condition = self.condition(key, known)
        kind = self.random.random()
        if kind < 0.6:
            return Put(name=name(key), value=mine, precondition=condition, expiry=self.expiry())
        condition = None if condition is ABSENT else condition
        if kind < 0.8:
            return Delete(name=name(key), precondition=condition)
        return Touch(name=name(key), precondition=condition, expire_at=self.expiry())

    def part(self, key: str, known: dict[str, Version | None], mine: bytes) -> TransactionOperation:
        condition = self.condition(key, known)
        kind = self.random.random()
        if kind < 0.5:
            return Put(name=name(key), value=mine, precondition=condition, expiry=self.expiry())
        if kind < 0.7:
            return Delete(name=name(key), precondition=None if condition is ABSENT else condition)
        return Check(name=name(key), precondition=condition or EXISTS)

    async def ask(
        self, operations: Sequence[TransactionOperation | Touch], request: Request | None
    ) -> Sequence[Answer] | KeepstateError:
        engine = self.random.choice(self.engines)
        deadline = HandDeadline(self.clock, self.random.choice([0.05, 3.0, 20.0]))
        self.store.plan()
        if len(operations) == 2:
            parts = [each for each in operations if not isinstance(each, Touch)]
            carried = request if any(not isinstance(each, Check) for each in parts) else None
            try:
                return await engine.transact(parts, carried, deadline)
            except KeepstateError as error:
                return error
        [operation] = operations
        assert not isinstance(operation, Check)
        other = next(key for key in KEYS if key != operation.name.key)
        # In a batch with a read of the other key, so that several keys share a call.
        results = await engine.perform_all([replace(operation, request=request), Get(name=name(other))], deadline)
        return results[0] if isinstance(results[0], KeepstateError) else [results[0]]

    def stands(self) -> dict[str, Version | None]:
        return {key: self.version(key) for key in KEYS}

    def version(self, key: str) -> Version | None:
        data = self.store.stands(key)
        envelope = decode(data) if data else None
        return envelope.version if envelope and envelope.lives(self.clock.now()) else None

    # The laws

    def check(self) -> None:
        done = Done()
        for write in self.store.applied:
            envelope = decode(write.data)
            assert envelope is not None
            done.note(write.key, envelope)
        assert not [request for request, count in done.times.items() if count > 1], "a request was applied twice"
        assert not [value for value, versions in done.values.items() if len(versions) > 1], "a value was put twice"
        for told in self.told:
            self.check_told(told, done)

    def check_told(self, told: Told, done: Done) -> None:
        result = told.result
        if isinstance(result, PreconditionFailed):
            assert not done.anything(told), f"refused and yet applied: {told}"
            demanded = {each.name.key: each.precondition for each in told.operations}[result.name.key]
            if isinstance(result, RecordChanged) and isinstance(demanded, bytes):
                # Versions never come back, so it does not stand now if it did not when the answer was made.
                # But a touch that was tested just before the expiry may land just after it.
                again = (result.name.key, demanded) in done.expiring
                assert again or told.standing[result.name.key] != demanded, f"a false conflict: {told}"
                assert result.etag != etag_of(Version(demanded))
        elif isinstance(result, StoreUnavailable | DeadlineExceeded | TransactionConflict):
            assert told.attempts > 1 or not done.anything(told), f"said not to be applied and yet applied: {told}"
        elif not isinstance(result, KeepstateError):
            for operation, answer in zip(told.operations, result, strict=True):
                self.check_answer(told, operation, answer, done)

    def check_answer(self, told: Told, operation: TransactionOperation | Touch, answer: Answer, done: Done) -> None:
        if isinstance(operation, Put):
            assert isinstance(answer, Written)
            stood = done.values[operation.name.key, told.value]
            # Or another caller's, of the same write, came on top of it.
            beneath = not stood and (operation.name.key, write_of(answer.version)) in done.writes
            assert stood == {answer.version} or beneath, f"said to be written: {told}"
        if told.request is None:
            return
        of = (told.request.client, told.request.number, operation.name.key)
        if isinstance(operation, Check):
            assert not done.times[of]
        elif isinstance(answer, Deleted):
            assert done.times[of] == answer.existed, f"said to be deleted: {told}"
        else:
            assert done.times[of] == 1, f"said to be applied: {told}"


@dataclass
class Done:
    """What took effect in the store."""

    times: Counter[tuple[int, int, str]] = field(default_factory=Counter)
    """How often each request was applied to each key."""
    values: defaultdict[tuple[str, bytes], set[Version]] = field(default_factory=lambda: defaultdict(set))
    """As which versions each value stood under each key."""
    writes: set[tuple[str, WriteId]] = field(default_factory=set)
    expiring: set[tuple[str, Version]] = field(default_factory=set)
    """The versions that had an expiry."""

    def note(self, key: str, envelope: Envelope) -> None:
        if envelope.expire_time is not None:
            self.expiring.add((key, envelope.version))
        newest = envelope.trail.entries[0]
        if (key, newest.write) in self.writes:
            return  # a check rewrote the record as it was
        self.writes.add((key, newest.write))
        if envelope.value:
            self.values[key, envelope.value].add(envelope.version)
        for noted in newest.requests:
            for number in range(noted.first, noted.first + noted.more + 1):
                self.times[noted.client, number, key] += noted.answer is FirstAnswer.APPLIED

    def anything(self, told: Told) -> bool:
        keys = [each.name.key for each in told.operations]
        put = any(self.values.get((key, told.value)) for key in keys)
        return put or (told.request is not None and any(self.was(told.request, key) for key in keys))

    def was(self, request: Request, key: str) -> bool:
        return bool(self.times[request.client, request.number, key])


@pytest.mark.parametrize("counts", [False, True], ids=["sql", "redis"])
@pytest.mark.parametrize("block", range(4))
async def test_no_answer_turns_out_wrong(counts: bool, block: int) -> None:
    told: Counter[str] = Counter()
    for seed in range(block * 20, block * 20 + 20):
        history = History(seed=seed, counts=counts)
        await history.run()
        history.check()
        told.update(
            type(each.result).__name__ if isinstance(each.result, KeepstateError) else "done" for each in history.told
        )
    # The histories are worth something: most requests end well, and others won now and then.
    assert told["done"] > 100
    assert told["RecordChanged"] > 10
