"""The same work by DaprClient and by the Keepstate client, as a user of each would write it."""

from __future__ import annotations

import json
from typing import Any, Protocol

from dapr.aio.clients import DaprClient
from dapr.clients.exceptions import DaprGrpcError, DaprInternalError
from dapr.clients.grpc._request import TransactionalStateOperation
from dapr.clients.grpc._state import Concurrency, StateItem, StateOptions

from keepstate import Client, Put, State

__all__ = ["Direct", "Keepstate", "Side"]

KEEP = 50
"""Messages that a chat keeps."""


class Side(Protocol):
    """What rows are made of."""

    async def fill(self, keys: list[str], value: bytes) -> None:
        """Writes records to begin with."""

    async def get(self, key: str) -> None:
        """Reads a record that there is."""

    async def put(self, key: str, value: bytes) -> None:
        """Overwrites a record."""

    async def put_if(self, key: str, value: bytes) -> None:
        """Overwrites a record if nobody else has since it was last seen."""

    async def count(self, key: str) -> None:
        """Makes a counter one higher, once."""

    async def get_many(self, keys: list[str]) -> None:
        """Reads many records that there are."""

    async def put_many(self, keys: list[str], value: bytes) -> None:
        """Overwrites many records, each for itself."""

    async def transaction(self, keys: list[str], value: bytes) -> None:
        """Overwrites several records, all or none."""

    async def append(self, key: str, message: str) -> None:
        """Adds a message to a chat, of which the last 50 are kept."""


class Direct:
    """By DaprClient alone."""

    def __init__(self, client: DaprClient, store: str) -> None:
        self._client, self._store = client, store
        self._first = StateOptions(concurrency=Concurrency.first_write)

    async def fill(self, keys: list[str], value: bytes) -> None:
        """In bulk, as much at a time as the sidecar takes."""
        count = max(1, min(100, 8 * 1024 * 1024 // len(value)))
        for begin in range(0, len(keys), count):
            states = [StateItem(key, value) for key in keys[begin : begin + count]]
            await self._client.save_bulk_state(self._store, states)

    async def get(self, key: str) -> None:
        """One call."""
        assert (await self._client.get_state(self._store, key)).data

    async def put(self, key: str, value: bytes) -> None:
        """One call."""
        await self._client.save_state(self._store, key, value)

    async def put_if(self, key: str, value: bytes) -> None:
        """Dapr tells no etag of what was written: it is read before."""
        found = await self._client.get_state(self._store, key)
        await self._client.save_state(self._store, key, value, etag=found.etag, options=self._first)

    async def count(self, key: str) -> None:
        """Read and written with the etag until nobody came between."""
        await self._change(key, lambda data: str(int(data or b"0") + 1).encode())

    async def get_many(self, keys: list[str]) -> None:
        """One call, of which the sidecar reads ten keys at once: one, the default, takes long, and all cost it more."""
        found = await self._client.get_bulk_state(self._store, keys, parallelism=10)
        assert all(item.data for item in found.items)

    async def put_many(self, keys: list[str], value: bytes) -> None:
        """One call."""
        await self._client.save_bulk_state(self._store, [StateItem(key, value) for key in keys])

    async def transaction(self, keys: list[str], value: bytes) -> None:
        """One call."""
        await self._client.execute_state_transaction(
            self._store, [TransactionalStateOperation(key=key, data=value) for key in keys]
        )

    async def append(self, key: str, message: str) -> None:
        """Read and written with the etag until nobody came between."""
        await self._change(key, lambda data: json.dumps([*json.loads(data or b"[]"), message][-KEEP:]).encode())

    async def _change(self, key: str, change: Any) -> None:
        while True:
            found = await self._client.get_state(self._store, key)
            try:
                await self._client.save_state(
                    self._store, key, change(found.data), etag=found.etag or None, options=self._first
                )
            except (DaprGrpcError, DaprInternalError):
                continue
            return


class Keepstate:
    """By the client of the service."""

    def __init__(self, client: Client[bytes], store: str) -> None:
        self._state: State[bytes] = client.store(store)
        self._etags: dict[str, str] = {}

    async def fill(self, keys: list[str], value: bytes) -> None:
        """In batches."""
        self._etags |= await self._state.put_many(dict.fromkeys(keys, value))

    async def get(self, key: str) -> None:
        """One call."""
        assert await self._state.get(key)

    async def put(self, key: str, value: bytes) -> None:
        """One call."""
        await self._state.put(key, value)

    async def put_if(self, key: str, value: bytes) -> None:
        """By the etag that the last write told."""
        self._etags[key] = await self._state.put(key, value, if_etag=self._etags[key])

    async def count(self, key: str) -> None:
        """At the service."""
        await self._state.increment(key)

    async def get_many(self, keys: list[str]) -> None:
        """One call."""
        assert len(await self._state.get_many(keys)) == len(keys)

    async def put_many(self, keys: list[str], value: bytes) -> None:
        """One call."""
        await self._state.put_many(dict.fromkeys(keys, value))

    async def transaction(self, keys: list[str], value: bytes) -> None:
        """One call."""
        await self._state.transact(puts=[Put(key, value) for key in keys])

    async def append(self, key: str, message: str) -> None:
        """At the service."""
        await self._state.append(key, [message], max_length=KEEP)
