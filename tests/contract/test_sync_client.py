"""Promises 3, 9 and 12 as threads see them that share a synchronous client."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from keepstate import Conflict
from keepstate.sync import Client, Transaction
from tests.contract.api import Api
from tests.contract.conftest import Backend


@pytest.fixture
def state(backend: Backend, store: str) -> Iterator[Client[Any]]:
    client: Client[Any] = Client(backend.target, store=store)
    yield client
    with ThreadPoolExecutor(1) as pool:  # this thread's loop serves the client
        pool.submit(client.close).result()


@pytest.mark.promise(3, 4)
async def test_of_many_threads_with_one_etag_one_wins(state: Client[Any], api: Api) -> None:
    key = api.key()
    etag = await asyncio.to_thread(state.put, key, 0)

    def put(number: int) -> bool:
        try:
            state.put(key, number, if_etag=etag)
        except Conflict:
            return False
        return True

    won = await asyncio.gather(*(asyncio.to_thread(put, number) for number in range(16)))
    assert won.count(True) == 1


@pytest.mark.promise(9, 12)
async def test_threads_move_money_and_none_is_lost(state: Client[Any], api: Api) -> None:
    one, other, moves = api.key(), api.key(), api.key()
    await asyncio.to_thread(state.put_many, {one: 100, other: 0})

    def move(tx: Transaction[Any]) -> None:
        tx.put(one, tx.get(one, default=0) - 1)
        tx.put(other, tx.get(other, default=0) + 1)
        tx.increment(moves)

    await asyncio.gather(*(asyncio.to_thread(state.transaction, move, tries=1000) for _ in range(16)))
    found = await asyncio.to_thread(state.snapshot, [one, other, moves])
    assert {key: record.value for key, record in found.items()} == {one: 84, other: 16, moves: 16}
