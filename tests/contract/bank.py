"""Transfers between accounts while snapshots sum them: what strict serialisability must hold under.

Every transfer also counts itself, in a record of its mover. So a snapshot shows which transfers it comes after, which
must fit with when they were begun and answered.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from keepstate.v1 import record_pb2
from keepstate.v1 import state_service_pb2 as pb
from tests.contract.api import Api, Refused, if_etag

OPENING = 100
RETRIED = {"ETAG_MISMATCH", "TRANSACTION_CONFLICT", "STORE_UNAVAILABLE"}


@dataclass
class Mover:
    """Moves money, one transfer after the other, through one instance of the service."""

    api: Api
    journal: record_pb2.RecordName
    """The record that counts its transfers."""
    begun: int = 0
    answered: int = 0


@dataclass
class Bank:
    """Accounts, which may lie in several stores, and who works on them."""

    accounts: Sequence[record_pb2.RecordName]
    movers: Sequence[Mover]
    watchers: Sequence[Api]
    """The instances that snapshots are taken through, at the same time."""
    conflicts: int = 0
    snapshots: int = 0
    _over: asyncio.Event = field(default_factory=asyncio.Event)

    async def work(self, *, transfers: int) -> None:
        """Has each mover make `transfers` while the watchers look; asserts that every snapshot was right."""
        api = self.watchers[0]
        puts = [_put(account, OPENING) for account in self.accounts]
        await api.transact(puts=puts + [_put(mover.journal, 0) for mover in self.movers])
        watching = asyncio.gather(*map(self._watch, self.watchers))
        try:
            await asyncio.gather(*(self._move(mover, transfers) for mover in self.movers))
        finally:
            self._over.set()
        await watching
        await self._look(api)

    async def _move(self, mover: Mover, transfers: int) -> None:
        chance = random.Random(mover.journal.key)
        for number in range(1, transfers + 1):
            source, target = chance.sample(list(self.accounts), 2)
            mover.begun = number
            while not await self._transfer(mover, source, target, chance.randrange(1, 10)):
                self.conflicts += 1
            mover.answered = number

    async def _transfer(
        self, mover: Mover, source: record_pb2.RecordName, target: record_pb2.RecordName, amount: int
    ) -> bool:
        """Tries once; says whether it was applied, which it certainly was not where it was not said to be."""
        try:
            took, gave = await mover.api.snapshot(source, target)
            await mover.api.transact(
                puts=[
                    _put(source, int(took.record.value) - amount, took.record.etag),
                    _put(target, int(gave.record.value) + amount, gave.record.etag),
                    _put(mover.journal, mover.begun),
                ]
            )
        except Refused as refused:
            assert refused.reason in RETRIED, refused.message
            return False
        return True

    async def _watch(self, api: Api) -> None:
        while not self._over.is_set():
            await self._look(api)

    async def _look(self, api: Api) -> None:
        """Takes one snapshot and asserts that nothing is lost or made in it, and that it shows what was answered."""
        answered = [mover.answered for mover in self.movers]
        try:
            items = await api.snapshot(*self.accounts, *(mover.journal for mover in self.movers))
        except Refused as refused:
            assert refused.reason == "STORE_UNAVAILABLE", refused.message  # they change faster than they can be read
            return
        self.snapshots += 1
        values = [int(each.record.value) for each in items]
        assert sum(values[: len(self.accounts)]) == OPENING * len(self.accounts)
        for least, shown, mover in zip(answered, values[len(self.accounts) :], self.movers, strict=True):
            assert least <= shown <= mover.begun


def _put(name: record_pb2.RecordName, number: int, etag: str = "") -> pb.PutRequest:
    return pb.PutRequest(name=name, value=str(number).encode(), precondition=if_etag(etag) if etag else None)
