"""Promise 9: transactions."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from keepstate.testing import MovableClock
from keepstate.v1 import state_service_pb2 as pb
from tests.contract.api import ABSENT, EXISTS, Api, Refused, if_etag

pytestmark = pytest.mark.promise(9)

SECOND = timedelta(seconds=1)


async def test_all_writes_are_applied_and_return_their_etags(api: Api) -> None:
    old, new, gone, never = (api.key() for _ in range(4))
    etag = await api.put(old, b"1")
    await api.put(gone)
    answer = await api.transact(
        checks=[api.check(never, ABSENT)],
        puts=[api.put_request(old, b"2", when=if_etag(etag)), api.put_request(new, b"3", when=ABSENT)],
        deletes=[api.delete_request(gone), api.delete_request(api.key())],
    )
    first, second = await api.get(old), await api.get(new)
    assert [(first.value, first.etag), (second.value, second.etag)] == [
        (b"2", answer.puts[0].etag),
        (b"3", answer.puts[1].etag),
    ]
    assert [each.existed for each in answer.deletes] == [True, False]
    assert await api.value(gone) is None
    assert await api.value(never) is None


@pytest.mark.parametrize("failing", ["put", "delete", "check", "check absent", "check exists"])
async def test_one_failed_precondition_names_its_record_and_undoes_all(api: Api, failing: str) -> None:
    good, bad, missing = api.key(), api.key(), api.key()
    await api.put(good, b"before")
    stale = await api.put(bad, b"1")
    current = await api.put(bad, b"2")
    puts, deletes, checks = [api.put_request(good, b"after")], [], []
    name, what, etag = bad, ("ABORTED", "ETAG_MISMATCH"), current
    match failing:
        case "put":
            puts.append(api.put_request(bad, b"3", when=if_etag(stale)))
        case "delete":
            deletes.append(api.delete_request(bad, if_etag(stale)))
        case "check":
            checks.append(api.check(bad, if_etag(stale)))
        case "check absent":
            checks.append(api.check(bad, ABSENT))
            what = ("ALREADY_EXISTS", "RECORD_ALREADY_EXISTS")
        case "check exists":
            checks.append(api.check(missing, EXISTS))
            name, what, etag = missing, ("NOT_FOUND", "RECORD_NOT_FOUND"), ""
    with pytest.raises(Refused) as refused:
        await api.transact(checks=checks, puts=puts, deletes=deletes)
    assert refused.value.what == what
    assert (refused.value.metadata["key"], refused.value.metadata["etag"]) == (name, etag)
    assert await api.value(good) == b"before"
    assert await api.value(bad) == b"2"


async def test_checks_change_nothing_that_callers_see(api: Api, clock: MovableClock) -> None:
    held, mortal, absent = api.key(), api.key(), api.key()
    etag = await api.put(held, b"held")
    await api.put(mortal, ttl=SECOND)
    before = [await api.get(held), await api.get(mortal)]
    await api.transact(
        checks=[api.check(held, if_etag(etag)), api.check(mortal, EXISTS), api.check(absent, ABSENT)],
        puts=[api.put_request(api.key())],
    )
    assert [await api.get(held), await api.get(mortal)] == before
    assert await api.value(absent) is None
    clock.advance(2 * SECOND)
    assert await api.value(mortal) is None


async def test_a_transaction_of_checks_alone_tells_whether_they_hold_at_once(api: Api) -> None:
    one, other = api.key(), api.key()
    etags = [await api.put(one), await api.put(other)]
    await api.transact(checks=[api.check(one, if_etag(etags[0])), api.check(other, if_etag(etags[1]))])
    await api.put(other)
    with pytest.raises(Refused) as refused:
        await api.transact(checks=[api.check(one, if_etag(etags[0])), api.check(other, if_etag(etags[1]))])
    assert refused.value.metadata["key"] == other


async def test_of_many_transactions_on_the_same_etags_one_wins(api: Api) -> None:
    keys = [api.key() for _ in range(4)]
    etags = [await api.put(key, b"0") for key in keys]

    async def attempt(number: int) -> pb.TransactResponse:
        return await api.transact(
            puts=[
                api.put_request(key, str(number).encode(), when=if_etag(etag))
                for key, etag in zip(keys, etags, strict=True)
            ]
        )

    results = await asyncio.gather(*map(attempt, range(16)), return_exceptions=True)
    won = [number for number, result in enumerate(results) if isinstance(result, pb.TransactResponse)]
    assert len(won) == 1
    assert {each.what for each in results if isinstance(each, Refused)} == {("ABORTED", "ETAG_MISMATCH")}
    assert [await api.value(key) for key in keys] == [str(won[0]).encode()] * 4


async def test_write_skew_is_impossible(api: Api) -> None:
    """Each of two transactions checks the record that the other writes: at most one can be applied."""
    for _ in range(5):
        one, other = api.key(), api.key()
        etags = {one: await api.put(one, b"on"), other: await api.put(other, b"on")}

        async def turn_off(mine: str, its: str, held: dict[str, str] = etags) -> pb.TransactResponse:
            return await api.transact(
                checks=[api.check(its, if_etag(held[its]))],
                puts=[api.put_request(mine, b"off", when=if_etag(held[mine]))],
            )

        results = await asyncio.gather(turn_off(one, other), turn_off(other, one), return_exceptions=True)
        assert sum(isinstance(result, pb.TransactResponse) for result in results) == 1
        assert b"on" in [await api.value(one), await api.value(other)]


async def test_a_hundred_records_fit_and_one_more_is_refused(api: Api) -> None:
    keys = [api.key() for _ in range(101)]
    for value in (b"1", bytes(10_000)):
        await api.transact(puts=[api.put_request(key, value) for key in keys[:100]])
        assert [await api.value(key) for key in keys[:100]] == [value] * 100
    answer = await api.transact(deletes=[api.delete_request(key) for key in keys[:100]])
    assert {each.existed for each in answer.deletes} == {True}
    assert {await api.value(key) for key in keys[:100]} == {None}
    with pytest.raises(Refused) as refused:
        await api.transact(puts=[api.put_request(key) for key in keys])
    assert refused.value.what == ("INVALID_ARGUMENT", "INVALID_FIELDS")


async def test_dead_and_expired_records_take_part(api: Api, clock: MovableClock) -> None:
    deleted, expired, revived = api.key(), api.key(), api.key()
    for key in (deleted, revived):
        await api.put(key)
        await api.delete(key)
    await api.put(expired, ttl=SECOND)
    clock.advance(2 * SECOND)
    await api.transact(
        checks=[api.check(deleted, ABSENT), api.check(expired, ABSENT)],
        puts=[api.put_request(revived, b"again", when=ABSENT, ttl=SECOND)],
    )
    assert await api.value(revived) == b"again"
    clock.advance(2 * SECOND)
    assert await api.value(revived) is None


async def test_an_expiry_is_set_kept_and_cleared_as_by_any_write(api: Api, clock: MovableClock) -> None:
    mortal, kept, cleared = (api.key() for _ in range(3))
    for key in (kept, cleared):
        await api.put(key, ttl=2 * SECOND)
    await api.transact(
        puts=[
            api.put_request(mortal, b"new", ttl=SECOND),
            api.put_request(kept, b"new", keep_expiry=True),
            api.put_request(cleared, b"new"),
        ]
    )
    assert [await api.value(key) for key in (mortal, kept, cleared)] == [b"new"] * 3
    clock.advance(1.5 * SECOND)
    assert [await api.value(key) for key in (mortal, kept, cleared)] == [None, b"new", b"new"]
    clock.advance(SECOND)
    assert [await api.value(key) for key in (mortal, kept, cleared)] == [None, None, b"new"]


@pytest.mark.parametrize("state", ["never written", "deleted", "expired"])
async def test_a_precondition_on_a_record_that_is_gone_fails_without_an_etag(
    api: Api, clock: MovableClock, state: str
) -> None:
    key, other = api.key(), api.key()
    etag = await api.put(key, ttl=SECOND)
    if state == "never written":
        key = api.key()
    elif state == "deleted":
        await api.delete(key)
    clock.advance(2 * SECOND)
    for when, what in ((if_etag(etag), ("ABORTED", "ETAG_MISMATCH")), (EXISTS, ("NOT_FOUND", "RECORD_NOT_FOUND"))):
        with pytest.raises(Refused) as refused:
            await api.transact(puts=[api.put_request(key, when=when), api.put_request(other)])
        assert refused.value.what == what
        assert (refused.value.metadata["key"], refused.value.metadata["etag"]) == (key, "")
    assert [await api.value(each) for each in (key, other)] == [None, None]


async def test_updates_take_part(api: Api) -> None:
    number, items, plain = (api.key() for _ in range(3))
    await api.put(number, b"41")
    parts: dict[str, Any] = {
        "updates": [
            pb.UpdateRequest(name=api.name(number), increment=pb.Increment(delta=1, maximum=42)),
            pb.UpdateRequest(name=api.name(items), append=pb.Append(items=[b"1.10"])),
        ],
        "puts": [api.put_request(plain, b"with them")],
    }
    answer = await api.transact(**parts)
    assert [each.record.value for each in answer.updates] == [b"42", b"[1.10]"]
    assert [each.record for each in answer.updates] == [await api.get(number), await api.get(items)]
    with pytest.raises(Refused) as refused:
        await api.transact(**parts)  # would be more than the maximum
    assert refused.value.what == ("FAILED_PRECONDITION", "UPDATE_NOT_APPLICABLE")
    assert refused.value.metadata["key"] == number
    assert [each.record for each in answer.updates] == [await api.get(number), await api.get(items)]
    assert (await api.get(plain)).etag == answer.puts[0].etag


async def test_what_was_applied_is_the_last_word_for_writes_of_every_kind(api: Api, clock: MovableClock) -> None:
    """Right after a transaction its records are written singly, which must not wait for it nor lose it."""
    for _ in range(5):
        keys = [api.key() for _ in range(4)]
        answer = await api.transact(puts=[api.put_request(key, b"1") for key in keys])
        etags = [each.etag for each in answer.puts]
        assert await api.put(keys[0], b"2", when=if_etag(etags[0]))
        assert await api.delete(keys[1], when=if_etag(etags[1])) is True
        assert (await api.touch(keys[2], ttl=SECOND, when=if_etag(etags[2]))).etag == etags[2]
        await api.transact(puts=[api.put_request(keys[3], b"2", when=if_etag(etags[3]))])
        assert await api.values(*keys) == [b"2", None, b"1", b"2"]
        clock.advance(2 * SECOND)
        assert await api.values(*keys) == [b"2", None, None, b"2"]
