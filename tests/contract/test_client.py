"""Promises 9, 11 and 12 as the Python client keeps them with the service: answers get lost, and callers do not notice.

Between the client and two instances of the service lies a network that loses answers, so a repeat goes through the
other instance.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from keepstate import (
    AlreadyExists,
    Client,
    Conflict,
    Delete,
    Increment,
    KeepstateError,
    Put,
    Retry,
    Transaction,
    Updated,
)
from tests.contract.api import Api
from tests.contract.conftest import Backend
from tests.support.lossy import LossyNetwork, lossy_network

QUICKLY = Retry(initial=timedelta(milliseconds=2), limit=timedelta(milliseconds=50))


@pytest.fixture
async def network(backend: Backend, another: Callable[[], Any]) -> AsyncIterator[tuple[LossyNetwork, str]]:
    async with another() as other, lossy_network(backend.target, other.target) as network:
        yield network


@pytest.fixture
def lossy(network: tuple[LossyNetwork, str]) -> LossyNetwork:
    return network[0]


@pytest.fixture
async def state(network: tuple[LossyNetwork, str], store: str) -> AsyncIterator[Client[Any]]:
    async with Client(network[1], store=store, retry=QUICKLY, timeout=timedelta(seconds=30)) as client:
        yield client


def the_next_answers(lossy: LossyNetwork, count: int) -> None:
    """Has the answers to the next calls be lost, and no others."""
    first = lossy.calls + 1
    lossy.loses = lambda number: first <= number < first + count


@pytest.mark.promise(11)
async def test_a_write_whose_answers_are_lost_is_answered_as_if_they_were_not(
    state: Client[Any], lossy: LossyNetwork, api: Api
) -> None:
    key, other = api.key(), api.key()
    the_next_answers(lossy, 2)
    etag = await state.put(key, 1, if_absent=True)
    record = await state.get_record(key)
    assert record is not None
    assert (record.value, record.etag) == (1, etag)
    with pytest.raises(AlreadyExists) as refused:
        await state.put(key, 2, if_absent=True)
    assert refused.value.etag == etag
    the_next_answers(lossy, 1)
    assert (await state.touch(key, ttl=timedelta(hours=1))).etag == etag
    the_next_answers(lossy, 2)
    assert await state.delete(key) is True
    assert await state.get(key) is None
    assert lossy.lost == 5
    the_next_answers(lossy, 1)
    assert await state.put_many({key: 1, other: 2}, if_absent=True) != {}
    assert await state.get_many([key, other]) == {key: 1, other: 2}


@pytest.mark.promise(11, 12)
async def test_an_update_whose_answers_are_lost_is_applied_once(
    state: Client[Any], lossy: LossyNetwork, api: Api
) -> None:
    number, log, user = api.key(), api.key(), api.key()
    the_next_answers(lossy, 2)
    updated = await state.update(Increment(number, 5))
    assert updated.repeated
    assert updated.record is not None
    assert updated.record.value == 5
    the_next_answers(lossy, 1)
    assert await state.append(log, ["a", {"b": 1}]) == ["a", {"b": 1}]
    the_next_answers(lossy, 1)
    assert await state.merge_patch(user, {"name": "Ada"}) == {"name": "Ada"}
    the_next_answers(lossy, 1)
    in_batch, *_ = await state.batch([Increment(number, 2), Delete(log), Put(user, {})])
    assert isinstance(in_batch, Updated)
    assert await state.get(number) == 7
    first = await state.update(Increment(number))
    assert not first.repeated


@pytest.mark.promise(5, 12)
async def test_many_callers_at_once_share_calls_and_are_answered_as_if_they_were_alone(
    state: Client[Any], lossy: LossyNetwork, api: Api
) -> None:
    shared, wanted, missing = api.key(), api.key(), api.key()

    async def caller(number: int) -> tuple[int, bool]:
        own = api.key()
        etag = await state.put(own, number)
        count, won, record, nothing = await asyncio.gather(
            state.increment(shared),
            first(number),
            state.get_record(own),
            state.get(missing, default="nothing"),
        )
        assert nothing == "nothing"
        assert record is not None
        assert (record.value, record.etag) == (number, etag)
        await state.put(own, number)
        with pytest.raises(Conflict):
            await state.put(own, -1, if_etag=etag)
        assert await state.delete(own)
        assert await state.get(own) is None
        return count, won

    async def first(number: int) -> bool:
        try:
            await state.put(wanted, number, if_absent=True)
        except AlreadyExists:
            return False
        return True

    answers = await asyncio.gather(*(caller(number) for number in range(64)))
    assert sorted(count for count, _ in answers) == list(range(1, 65))
    [winner] = [number for number, (_, won) in enumerate(answers) if won]
    assert await state.get(wanted) == winner
    assert lossy.calls < 9 * 64 / 4


@pytest.mark.promise(11, 12)
async def test_many_increments_with_every_third_answer_lost_are_counted_exactly(
    state: Client[Any], lossy: LossyNetwork, api: Api
) -> None:
    keys = [api.key() for _ in range(10)]
    lossy.loses = lambda number: number % 3 == 0

    async def count(key: str) -> None:
        for _ in range(4):
            await state.increment(key)

    # 12 of each, which a record remembers however long a repeat takes.
    await asyncio.gather(*(count(key) for key in keys for _ in range(3)))
    assert lossy.lost >= 3  # each with the answers to many increments
    lossy.loses = lambda number: False
    assert await state.get_many(keys) == dict.fromkeys(keys, 12)


@pytest.mark.promise(9, 11)
async def test_transfers_with_every_third_answer_lost_neither_lose_nor_double_money(
    state: Client[Any], lossy: LossyNetwork, api: Api
) -> None:
    accounts = [api.key("account") for _ in range(4)]
    journal = api.key("journal")
    await state.put_many(dict.fromkeys(accounts, 100))
    lossy.loses = lambda number: number % 3 == 0
    runs = 0

    async def move(source: str, target: str, amount: int) -> None:
        async def transfer(tx: Transaction[Any]) -> None:
            nonlocal runs
            runs += 1
            took, gave = await asyncio.gather(tx.get(source, default=0), tx.get(target, default=0))
            tx.put(source, took - amount)
            tx.put(target, gave + amount)
            tx.namespace("moves").increment(journal, amount)

        await state.transaction(transfer, tries=100)

    moves = [(source, target) for source in accounts for target in accounts if source != target]
    await asyncio.gather(*(move(source, target, amount) for amount, (source, target) in enumerate(moves)))
    expected = dict.fromkeys(accounts, 100)
    for amount, (source, target) in enumerate(moves):
        expected[source] -= amount
        expected[target] += amount
    found = await state.snapshot(accounts)
    assert {key: record.value for key, record in found.items()} == expected
    assert await state.namespace("moves").get(journal) == sum(range(len(moves)))
    assert runs > len(moves), "some met others"
    assert lossy.lost


@pytest.mark.promise(9)
async def test_a_transaction_that_reads_alone_sees_one_moment(state: Client[Any], api: Api) -> None:
    one, other = api.key(), api.key()
    await state.put_many({one: 0, other: 0})

    async def both(tx: Transaction[Any]) -> tuple[int, int]:
        return await tx.get(one, default=-1), await tx.get(other, default=-1)

    async def write() -> None:
        for number in range(1, 20):
            await state.transact(puts=[Put(one, number), Put(other, number)])

    writing = asyncio.create_task(write())
    while not writing.done():
        try:
            left, right = await state.transaction(both, tries=3)
        except KeepstateError:
            continue  # overtaken each time
        assert left == right
    await writing
    assert await state.transaction(both) == (19, 19)
