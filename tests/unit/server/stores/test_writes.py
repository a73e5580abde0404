"""What each store is asked to write."""

from __future__ import annotations

from datetime import timedelta

import pytest
from grpc import StatusCode

from keepstate_server.domain.records import Consistency
from keepstate_server.stores.base import Failure, Fate, Isolation, Stored
from keepstate_server.stores.redis import RedisStore
from keepstate_server.stores.sql import SqlStore
from tests.unit.server.fake_sidecar import FakeSidecar
from tests.unit.server.stores.conftest import LIFE, RAW, component, ready, write
from tests.unit.server.stores.words import MISMATCH, NETWORK, SAVING, SCRIPT_7, TRANSACTION, TRICKY

# How Redis is written


async def test_redis_is_never_written_first_write_and_never_with_a_positive_ttl(
    sidecar: FakeSidecar, redis: RedisStore
) -> None:
    await redis.write([write("a", None, keep_for=LIFE), write("b", "41"), write("c", "2", keep_for=LIFE)], timeout=1)
    [asked] = sidecar.asked
    assert asked.call == "transact"
    assert [(item.etag, item.ttl_seconds, item.create_only) for item in asked.items] == [
        ("-1", -1, False),
        ("41", -1, False),
        ("2", -1, False),
    ]


async def test_redis_counts_on_from_the_etag_that_was_met(redis: RedisStore) -> None:
    outcomes = await redis.write([write("a", None), write("b", "41")], timeout=1)
    assert [(outcome.fate, outcome.next_etag) for outcome in outcomes] == [(Fate.APPLIED, "1"), (Fate.APPLIED, "42")]


async def test_an_encrypted_redis_is_written_by_saves(sidecar: FakeSidecar, encrypted: RedisStore) -> None:
    assert not encrypted.transactions_keep_values
    [outcome] = await encrypted.write([write(keep_for=LIFE, consistency=Consistency.EVENTUAL)], timeout=1)
    assert (outcome.fate, outcome.next_etag) == (Fate.APPLIED, "8")
    [asked] = sidecar.asked
    assert asked.call == "save"
    [item] = asked.items
    assert (item.ttl_seconds, item.create_only, item.consistency) == (-1, False, Consistency.EVENTUAL)


def test_redis_does_not_roll_back_and_does_not_tell_expiries(redis: RedisStore) -> None:
    assert redis.isolation is Isolation.STEP
    assert not redis.tells_expiry


async def test_where_dapr_encrypts_each_write_stands_for_itself(encrypted: RedisStore) -> None:
    assert encrypted.isolation is Isolation.NONE


async def test_what_is_written_alone_expires_by_itself(sidecar: FakeSidecar, redis: RedisStore) -> None:
    outcome = await redis.write_alone(write(etag=None, keep_for=LIFE), timeout=1)
    assert (outcome.fate, outcome.next_etag) == (Fate.APPLIED, "1")
    [asked] = sidecar.asked
    assert (asked.call, asked.items[0].ttl_seconds) == ("save", LIFE.total_seconds())
    await redis.write_alone(write(keep_for=None), timeout=1)
    assert sidecar.asked[1].items[0].ttl_seconds == -1


async def test_redis_is_never_asked_for_a_transaction(redis: RedisStore) -> None:
    with pytest.raises(NotImplementedError):
        await redis.transact([write()], timeout=1)


# How SQL stores are written


@pytest.mark.parametrize(
    ("keep_for", "seconds"),
    [
        (None, None),
        (timedelta(seconds=900), 900),
        (timedelta(seconds=900, milliseconds=1), 901),
        (timedelta(milliseconds=1), 1),
        (timedelta(days=365 * 50) + LIFE, 50 * 365 * 86400 + 900),
    ],
)
async def test_a_sql_store_keeps_a_record_for_whole_seconds_rounded_up(
    sidecar: FakeSidecar, sql: SqlStore, keep_for: timedelta | None, seconds: int | None
) -> None:
    await sql.write([write(keep_for=keep_for)], timeout=1)
    assert sidecar.asked[0].items[0].ttl_seconds == seconds


async def test_a_sql_store_creates_by_first_write_without_etag(sidecar: FakeSidecar, sql: SqlStore) -> None:
    await sql.write([write(etag=None)], timeout=1)
    await sql.write([write(etag="a-uuid")], timeout=1)
    created, changed = (asked.items[0] for asked in sidecar.asked)
    assert (created.etag, created.create_only) == (None, True)
    assert (changed.etag, changed.create_only) == ("a-uuid", False)


async def test_several_writes_go_to_a_sql_store_in_one_transaction_sorted(sidecar: FakeSidecar, sql: SqlStore) -> None:
    outcomes = await sql.write([write("c"), write("a"), write("b")], timeout=1)
    assert [outcome.fate for outcome in outcomes] == [Fate.APPLIED] * 3
    [asked] = sidecar.asked
    assert asked.call == "transact"
    assert [item.key for item in asked.items] == ["a", "b", "c"]


async def test_writes_that_were_rolled_back_are_saved_for_themselves(sidecar: FakeSidecar, sql: SqlStore) -> None:
    sidecar.fail("transact", StatusCode.INTERNAL, TRANSACTION + MISMATCH)
    sidecar.fail("save", StatusCode.ABORTED, SAVING + MISMATCH)
    outcomes = await sql.write([write("a"), write("b")], timeout=1)
    assert [asked.call for asked in sidecar.asked] == ["transact", "save"]
    # Which of them was refused nobody can tell.
    assert [outcome.fate for outcome in outcomes] == [Fate.UNCERTAIN] * 2


@pytest.mark.parametrize(
    ("code", "text", "fate"),
    [
        (StatusCode.INTERNAL, TRANSACTION + "EOF", Fate.UNCERTAIN),
        (StatusCode.UNAVAILABLE, "failed to connect to all addresses; last error", Fate.FAILED),
    ],
)
async def test_writes_whose_transaction_was_not_refused_are_not_saved_again(
    sidecar: FakeSidecar, sql: SqlStore, code: StatusCode, text: str, fate: Fate
) -> None:
    sidecar.fail("transact", code, text)
    outcomes = await sql.write([write("a"), write("b")], timeout=1)
    assert [asked.call for asked in sidecar.asked] == ["transact"]
    assert [outcome.fate for outcome in outcomes] == [fate, fate]


async def test_a_sql_stores_next_etag_is_not_known(sql: SqlStore) -> None:
    [outcome] = await sql.write([write()], timeout=1)
    assert outcome.next_etag is None


async def test_an_encrypted_sql_store_is_never_used_by_transactions(sidecar: FakeSidecar) -> None:
    sidecar.destroys = True
    store = SqlStore(sidecar, component("state.sqlite"))
    await ready(store, sidecar)
    assert store.isolation is Isolation.NONE
    await store.write([write("a"), write("b")], timeout=1)
    assert [asked.call for asked in sidecar.asked] == ["save"]


async def test_a_refused_transaction_is_refused_whole(sidecar: FakeSidecar, sql: SqlStore) -> None:
    assert sql.isolation is Isolation.ROLLBACK
    sidecar.fail("transact", StatusCode.INTERNAL, TRANSACTION + "no item was updated")
    assert (await sql.transact([write("b"), write("a")], timeout=1)).fate is Fate.REFUSED
    assert [item.key for item in sidecar.asked[0].items] == ["a", "b"]


# Adoption


async def test_on_redis_a_value_is_adopted_by_a_creation_that_is_refused(
    sidecar: FakeSidecar, redis: RedisStore
) -> None:
    sidecar.values["k"] = RAW
    sidecar.fail("transact", StatusCode.INTERNAL, TRANSACTION + SCRIPT_7.format(key="k"))
    assert await redis.adopt("k", RAW, tombstone=b"tombstone", timeout=1) == RAW
    [item] = sidecar.calls("transact")[0].items
    assert (item.etag, item.ttl_seconds, item.value) == ("-1", -1, b"tombstone")


async def test_a_value_that_went_away_is_adopted_as_the_tombstone(sidecar: FakeSidecar, redis: RedisStore) -> None:
    found = await redis.adopt("k", RAW, tombstone=b"tombstone", timeout=1)
    assert isinstance(found, Stored)
    assert found.data == b"tombstone"


async def test_on_an_encrypted_redis_a_value_is_adopted_by_writing_it_as_it_is(
    sidecar: FakeSidecar, encrypted: RedisStore
) -> None:
    sidecar.values["k"] = RAW
    await encrypted.adopt("k", RAW, tombstone=b"tombstone", timeout=1)
    [item] = sidecar.calls("save")[0].items
    assert (item.etag, item.ttl_seconds, item.value, item.create_only) == ("3", -1, b"raw", False)


@pytest.mark.parametrize("key", ["k", *TRICKY])
@pytest.mark.parametrize("cause", NETWORK)
async def test_an_adoption_during_an_outage_fails(
    sidecar: FakeSidecar, redis: RedisStore, key: str, cause: str
) -> None:
    text = TRANSACTION + SCRIPT_7.format(key=key) + " " + cause
    for code in (StatusCode.INTERNAL, StatusCode.ABORTED):
        sidecar.fail("transact", code, text)
        assert isinstance(await redis.adopt(key, RAW, tombstone=b"", timeout=1), Failure)


async def test_on_sql_stores_a_value_needs_no_adoption(sidecar: FakeSidecar, sql: SqlStore) -> None:
    assert await sql.adopt("k", RAW, tombstone=b"", timeout=1) == RAW
    assert sidecar.asked == []
