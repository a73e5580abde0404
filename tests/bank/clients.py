"""Clients that move money between accounts through instances of the service that are killed under them.

Half of their transfers rest on etags, half are increments that rest on nothing but their request. Each counts itself in
a journal of its client. A client repeats what was not answered through the other instance, until it is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_status import rpc_status

from keepstate.v1 import record_pb2, state_service_pb2_grpc
from keepstate.v1 import state_service_pb2 as pb
from tests.contract.api import Refused, again, if_etag

STORE = "redis"
ACCOUNTS = 20
OPENING = 1000
JOURNALS = 8
"""Of each client, in turn. A repeat is judged by the first record that its transaction writes, which must not have
forgotten what was written to it lately: so these are seldom written, while the accounts are written often."""

# Said of one attempt, these leave open what became of an earlier one.
UNDECIDED = {"STORE_UNAVAILABLE", "OUTCOME_UNKNOWN", "DEADLINE_EXCEEDED", "OVERLOADED"}
CONFLICTS = {"ETAG_MISMATCH", "TRANSACTION_CONFLICT"}


def account(number: int) -> record_pb2.RecordName:
    return record_pb2.RecordName(store=STORE, key=f"bank:money:{number:02}")


def journals(client: int) -> list[record_pb2.RecordName]:
    """They sort before every account."""
    return [record_pb2.RecordName(store=STORE, key=f"bank:journal:{client:02}:{each}") for each in range(JOURNALS)]


def number_in(record: record_pb2.Record) -> int:
    return int(record.value)


class Lost(Exception):
    """There was no answer."""


@dataclass(kw_only=True)
class Report:
    """What a client did and met."""

    client: int
    applied: list[tuple[int, int, int]] = field(default_factory=list)
    """The transfers that it was told were applied: source, target and amount."""
    snapshots: int = 0
    restless: int = 0
    """Snapshots that got no answer, or were given up because the accounts changed faster than they could be read."""
    conflicts: int = 0
    refused: int = 0
    """Transfers that would have left an account with too little."""
    undecided: dict[str, int] = field(default_factory=dict)
    """How often attempts at transfers left open what became of them, by what was said: "lost" if nothing was."""
    resolved: int = 0
    """Transfers that a repeat was told about."""
    longest: float = 0.0
    """The longest that a transfer was in doubt, in seconds."""


class Client:
    """One client, which does one thing after the other."""

    def __init__(self, number: int, targets: Sequence[str]) -> None:
        self.report = Report(client=number)
        self._number = number
        self._chance = random.Random(number)
        options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200)]
        self._channels = [grpc.aio.insecure_channel(target, options=options) for target in targets]
        self._instances = [state_service_pb2_grpc.StateServiceStub(channel) for channel in self._channels]
        self._next = number
        self._requests = 0

    async def work(self, seconds: float) -> dict[str, Any]:
        """Transfers and looks for so long, and returns the report."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self._chance.random() < 0.2:
                await self._look()
            else:
                await self._transfer()
        for channel in self._channels:
            await channel.close()
        return asdict(self.report)

    async def _look(self) -> None:
        """Takes a snapshot of all accounts, in which nothing is lost or made, and nothing of its own missing."""
        names = [*map(account, range(ACCOUNTS)), *journals(self._number)]
        try:
            answer = await self._ask(lambda instance: instance.Snapshot(pb.SnapshotRequest(names=names), timeout=10))
        except (Refused, Lost) as error:
            assert isinstance(error, Lost) or error.reason in UNDECIDED, error.message
            self.report.restless += 1
            return
        shown = [number_in(each.record) for each in answer.items]
        money, own = shown[:ACCOUNTS], sum(shown[ACCOUNTS:])
        assert sum(money) == ACCOUNTS * OPENING, f"{sum(money)} in all: {money}"
        assert own == len(self.report.applied), f"{own} transfers shown of {len(self.report.applied)}"
        self.report.snapshots += 1

    async def _transfer(self) -> None:
        """Makes one transfer, however often it must be begun anew."""
        source, target = self._chance.sample(range(ACCOUNTS), 2)
        amount = self._chance.randrange(1, 50)
        while True:
            if self._chance.random() < 0.5:
                message = await self._by_etags(source, target, amount)
            else:
                message = self._by_increments(source, target, amount)
            try:
                await self._resolve(message)
            except Refused as refused:
                if refused.reason == "UPDATE_NOT_APPLICABLE":
                    self.report.refused += 1
                    return
                assert refused.reason in CONFLICTS, refused.message
                self.report.conflicts += 1
            else:
                self.report.applied.append((source, target, amount))
                return

    @property
    def _journal(self) -> record_pb2.RecordName:
        return journals(self._number)[len(self.report.applied) % JOURNALS]

    async def _by_etags(self, source: int, target: int, amount: int) -> pb.TransactRequest:
        took, gave, own = await self._read([account(source), account(target), self._journal])
        return pb.TransactRequest(
            puts=[
                _put(took, number_in(took) - amount),
                _put(gave, number_in(gave) + amount),
                _put(own, number_in(own) + 1),
            ]
        )

    def _by_increments(self, source: int, target: int, amount: int) -> pb.TransactRequest:
        return pb.TransactRequest(
            updates=[
                pb.UpdateRequest(name=account(source), increment=pb.Increment(delta=-amount, minimum=0)),
                pb.UpdateRequest(name=account(target), increment=pb.Increment(delta=amount)),
                pb.UpdateRequest(name=self._journal, increment=pb.Increment(delta=1)),
            ]
        )

    async def _resolve(self, message: pb.TransactRequest) -> None:
        """Sends a transaction, and repeats it until it is told what became of it.

        Raises:
            Refused: it was not applied.
        """
        self._requests += 1
        sent = Timestamp()
        sent.GetCurrentTime()
        message.request.CopyFrom(record_pb2.RequestId(client=self._number + 1, number=self._requests, first_sent=sent))
        began = time.monotonic()
        told = []
        while True:
            try:
                await self._ask(lambda instance: instance.Transact(message, timeout=10))
            except Lost:
                told.append("lost")
            except Refused as refused:
                if refused.reason not in UNDECIDED:
                    self._note(message, began)
                    raise
                told.append(refused.reason)
            else:
                self._note(message, began)
                return
            self.report.undecided[told[-1]] = self.report.undecided.get(told[-1], 0) + 1
            assert time.monotonic() - began < 45, f"a transfer stays in doubt: {told}"
            await asyncio.sleep(self._chance.uniform(0, 1.0 if told[-1] == "OVERLOADED" else 0.1))
            message.request.CopyFrom(again(message.request))

    def _note(self, message: pb.TransactRequest, began: float) -> None:
        if message.request.attempt:
            self.report.resolved += 1
            self.report.longest = max(self.report.longest, time.monotonic() - began)

    async def _read(self, names: Sequence[record_pb2.RecordName]) -> list[record_pb2.Record]:
        """Reads records, each for itself, until all are read."""
        gets = [pb.BatchOperation(get=pb.GetRequest(name=name)) for name in names]
        while True:
            with contextlib.suppress(Lost):
                answer = await self._ask(lambda instance: instance.Batch(pb.BatchRequest(operations=gets), timeout=10))
                if all(each.HasField("get") for each in answer.results):
                    return [each.get.record for each in answer.results]

    async def _ask(self, call: Any) -> Any:
        """Calls one instance, the next time the other; the other at once if the one is not there.

        Raises:
            Refused: it said so.
            Lost: it said nothing.
        """
        while True:
            self._next += 1
            answer: Awaitable[Any] = call(self._instances[self._next % len(self._instances)])
            try:
                return await answer
            except grpc.aio.AioRpcError as error:
                if status := rpc_status.from_call(error):
                    raise Refused.of(status) from None
                if "failed to connect to all addresses" not in (error.details() or ""):
                    raise Lost from None
            await asyncio.sleep(0.02)


def _put(record: record_pb2.Record, number: int) -> pb.PutRequest:
    return pb.PutRequest(name=record.name, value=str(number).encode(), precondition=if_etag(record.etag))
