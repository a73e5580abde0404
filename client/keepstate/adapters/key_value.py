"""Keepstate as a store of py-key-value. Needs the extra ``key-value``."""

from __future__ import annotations

__all__ = ["KeepstateStore"]

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from keepstate import Delete, Get, Json, Record, State, key
from keepstate.adapters import missing
from keepstate.errors import (
    DeadlineExceeded,
    DecodeError,
    EncodeError,
    KeepstateError,
    ResourceExhausted,
    Unavailable,
)
from keepstate.recipes.records import Id

try:
    from key_value.aio.errors import DeserializationError, InvalidKeyError, SerializationError, StoreConnectionError
    from key_value.aio.stores.base import BaseStore, ManagedEntry
except ModuleNotFoundError as error:
    raise missing("key-value", error) from None

T = TypeVar("T")

_SHORTEST = timedelta(milliseconds=1)
_GETS_AT_ONCE = 100
_DELETES_AT_ONCE = 1000


class KeepstateStore(BaseStore):
    """Keeps what ``AsyncKeyValue`` says: values under ``<prefix>:<collection>:<key>``, as plain JSON objects.

    ::

        store = KeepstateStore(state, "assistant")
        await store.put("ada", {"city": "London"}, collection="users", ttl=3600)
        assert await store.get("ada", collection="users") == {"city": "London"}

    A key that would have more than 512 bytes is ``<prefix>:<hash>``: the SHA-256, in hexadecimal, of the JSON list of
    collection and key.

    Calls raise the library's errors, ``StoreConnectionError`` where the service or the store does not answer; what it
    has no error for comes as the client's own, e.g. ``OutcomeUnknown``. The client stays the caller's, to close it.
    """

    def __init__(self, state: State[Any], *prefix: Id, default_collection: str | None = None) -> None:
        """Keep them in this view, as JSON whatever its codec.

        Args:
            prefix: the parts of a key before the collection; may be none.
            default_collection: where a call names none. None: the library's ``"default_collection"``.

        Raises:
            TypeError, ValueError: the prefix is none that leaves room for a hash, see ``keepstate.key``.
        """
        key(*prefix, "0" * 64)  # raises here, rather than at each call
        self._state: State[Any] = state.using(Json())
        self._prefix = prefix
        super().__init__(default_collection=default_collection, stable_api=True)

    def _key(self, collection: str, name: str) -> str:
        if not name:
            raise InvalidKeyError("a key must not be empty")
        try:
            f"{collection}{name}".encode()
        except UnicodeEncodeError:
            raise InvalidKeyError("a collection or key cannot be encoded as UTF-8") from None
        try:
            return key(*self._prefix, collection, name)
        except ValueError:  # too long; one part less than others, so that none of them is this one
            return key(*self._prefix, hashlib.sha256(json.dumps([collection, name]).encode()).hexdigest())

    async def _get_managed_entry(self, *, collection: str, key: str) -> ManagedEntry | None:
        with _their_errors():
            return await self._entry(await self._state.get_record(self._key(collection, key)))

    async def _get_managed_entries(self, *, collection: str, keys: Sequence[str]) -> list[ManagedEntry | None]:
        names = list(dict.fromkeys(self._key(collection, each) for each in keys))
        found: dict[str, Record[Any] | None] = {}
        with _their_errors():
            for some in _slices(names, _GETS_AT_ONCE):
                answers = await self._state.batch([Get(name) for name in some])
                for name, answer in zip(some, answers, strict=True):
                    full = isinstance(answer, ResourceExhausted)  # there was no room for it in the one answer
                    found[name] = await self._state.get_record(name) if full else _answered(answer)
            return [await self._entry(found[self._key(collection, each)]) for each in keys]

    async def _put_managed_entry(self, *, collection: str, key: str, managed_entry: ManagedEntry) -> None:
        value, ttl = managed_entry.value_as_dict, _ttl(managed_entry.ttl)
        with _their_errors():
            await self._state.put(self._key(collection, key), value, ttl=ttl)

    async def _put_managed_entries(
        self,
        *,
        collection: str,
        keys: Sequence[str],
        managed_entries: Sequence[ManagedEntry],
        ttl: float | None,
        created_at: datetime,  # noqa: ARG002 - the service tells it
        expires_at: datetime | None,  # noqa: ARG002
    ) -> None:
        pairs = zip(keys, managed_entries, strict=True)
        values = {self._key(collection, each): entry.value_as_dict for each, entry in pairs}
        with _their_errors():
            await self._state.put_many(values, ttl=_ttl(ttl))

    async def _delete_managed_entry(self, *, key: str, collection: str) -> bool:
        with _their_errors():
            return await self._state.delete(self._key(collection, key))

    async def _delete_managed_entries(self, *, keys: Sequence[str], collection: str) -> int:
        names = [self._key(collection, each) for each in keys]
        deleted = 0
        with _their_errors():
            for some in _slices(names, _DELETES_AT_ONCE):
                deleted += sum(map(_answered, await self._state.batch([Delete(name) for name in some])))
        return deleted

    async def _entry(self, record: Record[Any] | None) -> ManagedEntry | None:
        if record is None:
            return None
        if not isinstance(record.value, dict):
            raise DeserializationError("the record is no JSON object", extra_info={"key": record.name.key})
        return ManagedEntry(
            value=record.value,
            created_at=record.update_time,
            expires_at=None if record.expire_time is None else await self._here(record.expire_time),
        )

    async def _here(self, time: datetime) -> datetime:
        """A time of the service by this machine's clock, with which the library compares it."""
        return datetime.now(UTC) + (time - await self._state.now())


def _ttl(seconds: float | None) -> timedelta | None:
    return None if seconds is None else max(timedelta(seconds=seconds), _SHORTEST)


def _slices(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), size):
        yield names[start : start + size]


def _answered(answer: T | KeepstateError) -> T:
    if isinstance(answer, KeepstateError):
        raise answer
    return answer


@contextmanager
def _their_errors() -> Iterator[None]:
    try:
        yield
    except EncodeError as error:
        raise SerializationError(str(error)) from error
    except DecodeError as error:
        raise DeserializationError(str(error)) from error
    except (Unavailable, DeadlineExceeded) as error:
        raise StoreConnectionError(str(error)) from error
