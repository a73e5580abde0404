"""What a live store is seen to do: one function for each thing that is tried out.

Each sends what a plain program could send, under keys of its own, and says in a word what it saw. Words are compared
with those of ``judgement``; details are for people. These take no longer than their calls; those that must wait for an
expiry, or send much, are in ``slow_checks``.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import grpc

from keepstate_server.domain.names import internal_key
from keepstate_server.domain.records import Consistency
from keepstate_server.stores.base import Stored, StoreEtag
from keepstate_server.stores.failures import mentions_network, mentions_trouble
from keepstate_server.stores.sidecar import BulkItem, Sidecar, SidecarError, StateItem
from keepstate_server.stores.time_limit import TimeLimit

__all__ = ["QUICK", "Bench", "Check", "CouldNotTell", "Seen", "transaction_values", "two_versions", "with_etag"]

_T = TypeVar("_T")

# Codes that tell of the way to the store and not of the store.
_OUTAGE = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
    }
)

# How long one call may take. A look may take much longer: a store far away needs its time for each of many.
_CALL_SECONDS = 10.0

_ABSENT = StoreEtag("-1")


class CouldNotTell(Exception):
    """A check did not come to its end: the store is away or full, or too slow for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What a check saw."""

    word: str
    """In a word or a few, which can be compared with what was expected."""
    detail: str = ""
    """More of it, for people."""


class Bench:
    """One store, to be tried out with keys of its own. Every call ends within the bench's time, and ten seconds.

    Calls raise CouldNotTell where the store is away; ``refusal`` alone takes a failure for the store's answer.
    """

    def __init__(self, sidecar: Sidecar, store: str, folder: str, limit: TimeLimit) -> None:
        """``folder`` is the part of the keys that no other probe has."""
        self.limit = limit
        self.keys: list[str] = []
        """What must be deleted afterwards."""
        self._sidecar = sidecar
        self._store = store
        self._folder = internal_key(f"probe/{folder}/")

    @property
    def _seconds(self) -> float:
        return min(self.limit.left, _CALL_SECONDS)

    def key(self, ending: str = "") -> str:
        """Returns a key that nobody has used."""
        self.keys.append(f"{self._folder}{len(self.keys)}{ending}")
        return self.keys[-1]

    async def get(self, key: str) -> Stored | None:
        """Reads one key."""
        return await self._answered(
            self._sidecar.get(self._store, key, consistency=Consistency.STRONG, timeout=self._seconds)
        )

    async def etag(self, key: str) -> StoreEtag:
        """Returns the etag of a key that was just written."""
        found = await self.get(key)
        if found is None:
            raise CouldNotTell("what was just saved is not there")
        return found.etag

    async def get_bulk(self, keys: Sequence[str]) -> dict[str, BulkItem]:
        """Reads several keys."""
        return dict(await self._answered(self._sidecar.get_bulk(self._store, keys, timeout=self._seconds)))

    async def save(self, *items: StateItem) -> None:
        """Saves what must be saved for the check to go on."""
        await self._answered(self._save(*items))

    async def put(self, key: str, value: bytes = b"1", *, ttl: int | None = None) -> None:
        """Saves one key without an etag, as programs do that know nothing of etags."""
        await self.save(StateItem(key=key, value=value, etag=None, ttl_seconds=ttl))

    async def refusal_of_save(self, *items: StateItem) -> str:
        """Saves; returns the code of the store's refusal, empty if it took them."""
        return await self._refusal(self._save(*items), items)

    async def refusal_of_transaction(self, *items: StateItem) -> str:
        """Saves in one transaction; returns the code of the store's refusal, empty if it took them."""
        return await self._refusal(self._sidecar.transact(self._store, items, timeout=self._seconds), items)

    async def refusal_of_delete(self, key: str, etag: StoreEtag | None) -> str:
        """Deletes; returns the code of the store's refusal, empty if it did."""
        call = self._sidecar.delete(self._store, key, etag=etag, timeout=self._seconds)
        return await self._refusal(call, [StateItem(key=key, value=b"", etag=etag)])

    async def delete(self, key: str) -> None:
        """Deletes a key, whatever stands under it."""
        await self._answered(self._sidecar.delete(self._store, key, etag=None, timeout=self._seconds))

    def _save(self, *items: StateItem) -> Awaitable[None]:
        return self._sidecar.save(self._store, items, timeout=self._seconds)

    async def _answered(self, call: Awaitable[_T]) -> _T:
        try:
            return await call
        except SidecarError as error:
            raise CouldNotTell(str(error)) from None

    async def _refusal(self, call: Awaitable[None], items: Sequence[StateItem]) -> str:
        try:
            await call
        except SidecarError as error:
            in_trouble = mentions_trouble(error.text) or mentions_network(error.text, (item.key for item in items))
            if error.code in _OUTAGE or in_trouble:
                raise CouldNotTell(str(error)) from None
            return error.code.name
        return ""


Check = Callable[[Bench], Awaitable[Seen]]


def with_etag(key: str, etag: StoreEtag | None, value: bytes = b"2", *, ttl: int | None = None) -> StateItem:
    """Returns a save that is to be compared."""
    return StateItem(key=key, value=value, etag=etag, ttl_seconds=ttl)


async def two_versions(bench: Bench, key: str) -> tuple[StoreEtag, StoreEtag]:
    """Writes a key twice; returns the etags of both versions, the old one and the present one."""
    await bench.put(key)
    old = await bench.etag(key)
    await bench.put(key, b"2")
    return old, await bench.etag(key)


async def compare_and_set(bench: Bench) -> Seen:
    """Whether a save with an etag is taken if and only if it is the present one."""
    key = bench.key()
    old, present = await two_versions(bench, key)
    if old == present:
        return Seen(word="no", detail="the etag did not change with the value")
    refused = await bench.refusal_of_save(with_etag(key, old, b"stale"))
    found = await bench.get(key)
    if not refused or found is None or found.data != b"2":
        return Seen(word="no", detail="a save with an old etag was applied")
    if code := await bench.refusal_of_save(with_etag(key, found.etag, b"3")):
        return Seen(word="no", detail=f"a save with the present etag was refused: {code}")
    return Seen(word="yes", detail=f"a save with an old etag is refused: {refused}")


async def compare_and_delete(bench: Bench) -> Seen:
    """Whether a delete with an etag is done if and only if it is the present one."""
    key = bench.key()
    old, present = await two_versions(bench, key)
    refused = await bench.refusal_of_delete(key, old)
    if not refused or await bench.get(key) is None:
        return Seen(word="no", detail="a delete with an old etag was done")
    if code := await bench.refusal_of_delete(key, present):
        return Seen(word="no", detail=f"a delete with the present etag was refused: {code}")
    return Seen(word="yes", detail=f"a delete with an old etag is refused: {refused}")


async def create_only(bench: Bench) -> Seen:
    """How a save can be made that creates, and is refused where something stands."""
    ways = []
    for name, etag, first_write in (("etag -1", _ABSENT, False), ("first-write", None, True)):
        there, absent = bench.key(), bench.key()
        await bench.put(there)
        new = [StateItem(key=key, value=b"new", etag=etag, create_only=first_write) for key in (there, absent)]
        refused = await bench.refusal_of_save(new[0])
        kept = await bench.get(there)
        created = not await bench.refusal_of_save(new[1]) and await bench.get(absent)
        if refused and kept and kept.data == b"1" and created and created.data == b"new":
            ways.append(name)
    return Seen(word=", ".join(ways) or "no")


async def old_etag_without_key(bench: Bench) -> Seen:
    """What a save does whose etag is of a record that is gone."""
    key = bench.key()
    await bench.put(key)
    etag = await bench.etag(key)
    await bench.delete(key)
    refused = await bench.refusal_of_save(with_etag(key, etag))
    if await bench.get(key) is not None:
        return Seen(word="creates", detail="a save with the etag of a deleted record creates it anew")
    return Seen(word="refused", detail=refused)


async def etag_reuse(bench: Bench) -> Seen:
    """Whether a later life of a key has the etag of an earlier one."""
    key = bench.key()
    await bench.put(key)
    before = await bench.etag(key)
    await bench.delete(key)
    await bench.put(key)
    return Seen(word="yes" if await bench.etag(key) == before else "no")


async def next_etag(bench: Bench) -> Seen:
    """Whether the etag after a write is known without a read."""
    key = bench.key()
    old, present = await two_versions(bench, key)
    return Seen(word="counted" if (old, present) == ("1", "2") else "not known")


async def empty_value(bench: Bench) -> Seen:
    """Whether a value of no bytes is kept."""
    key = bench.key()
    if refused := await bench.refusal_of_save(StateItem(key=key, value=b"", etag=None)):
        return Seen(word="refused", detail=refused)
    found = await bench.get(key)
    return Seen(word="kept" if found is not None and found.data == b"" else "lost")


async def every_byte(bench: Bench) -> Seen:
    """Whether bytes come back as they were saved: alone, and several at once."""
    value, keys = bytes(range(256)), [bench.key() for _ in range(3)]
    await bench.put(keys[0], value)
    await bench.save(*(StateItem(key=key, value=value, etag=None) for key in keys[1:]))
    found = [await bench.get(key) for key in keys]
    return Seen(word="kept" if all(each and each.data == value for each in found) else "changed")


async def bulk_read(bench: Bench) -> Seen:
    """Whether a bulk read finds what single reads find, and nothing where there is nothing."""
    keys = [bench.key() for _ in range(3)]
    absent = bench.key()
    for number, key in enumerate(keys):
        await bench.put(key, b"%d" % number)
    singly = {key: await bench.get(key) for key in keys}
    found = await bench.get_bulk([absent, *keys])
    items = {key: item.stored if (item := found.get(key)) else None for key in (absent, *keys)}
    return Seen(word="complete" if items == {absent: None, **singly} else "not complete")


async def transaction_values(bench: Bench) -> Seen:
    """Whether a value comes back that a state transaction wrote."""
    key, value = bench.key(), b"\x00\xff value"
    if refused := await bench.refusal_of_transaction(StateItem(key=key, value=value, etag=None)):
        return Seen(word="no transactions", detail=refused)
    found = await bench.get(key)
    kept = found is not None and found.data == value
    return Seen(word="kept" if kept else "destroyed", detail="" if kept else "as where Dapr encrypts")


async def rollback(bench: Bench) -> Seen:
    """Whether a transaction in which one operation is refused leaves the others undone."""
    first, second = bench.key(), bench.key()
    await bench.put(first)
    before = await bench.etag(first)
    old, _ = await two_versions(bench, second)
    refused = await bench.refusal_of_transaction(with_etag(first, None, b"half"), with_etag(second, old, b"stale"))
    if refused == grpc.StatusCode.UNIMPLEMENTED.name:
        return Seen(word="no transactions", detail=refused)
    if not refused:
        return Seen(word="no", detail="a transaction with an old etag was not refused")
    # By the etag, since Dapr's encryption destroys the value.
    if await bench.etag(first) != before:
        return Seen(word="no", detail=f"the other operation of a refused transaction ({refused}) stays applied")
    return Seen(word="yes", detail=f"the other operation of a refused transaction ({refused}) is undone")


QUICK: dict[str, Check] = {
    "compare-and-set": compare_and_set,
    "compare-and-delete": compare_and_delete,
    "create-only": create_only,
    "old etag, no key": old_etag_without_key,
    "etag reuse": etag_reuse,
    "next etag": next_etag,
    "empty value": empty_value,
    "bytes": every_byte,
    "bulk read": bulk_read,
    "transaction values": transaction_values,
    "rollback": rollback,
}
"""What the service must know of a kind of store before it writes there, in the order in which it is tried out."""
