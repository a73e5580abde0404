"""What each store is asked, and what its answers are taken for. The texts are those that daprd 1.18 gives."""

from __future__ import annotations

from datetime import timedelta

import pytest
from grpc import StatusCode

from keepstate_server.domain.names import internal_key
from keepstate_server.domain.records import Consistency
from keepstate_server.stores.base import Absence, CompareAndSet, Failure, Fate, Stored, StoreEtag
from keepstate_server.stores.dapr_store import DaprStore, mentions_network
from keepstate_server.stores.redis import RedisStore
from keepstate_server.stores.sidecar import BulkItem, Component, SidecarError
from keepstate_server.stores.sql import SqlStore
from tests.unit.server.fake_sidecar import FakeSidecar

STRONG = Consistency.STRONG
LIFE = timedelta(seconds=900)


def component(type_: str = "state.redis") -> Component:
    return Component(name="store", type=type_, version="v1", capabilities=frozenset())


@pytest.fixture
def sidecar() -> FakeSidecar:
    return FakeSidecar()


async def ready(store: DaprStore, sidecar: FakeSidecar) -> None:
    assert await store.prepare(timeout=1) is None
    sidecar.asked.clear()


@pytest.fixture
async def redis(sidecar: FakeSidecar) -> RedisStore:
    store = RedisStore(sidecar, component())
    await ready(store, sidecar)
    return store


@pytest.fixture
async def encrypted(sidecar: FakeSidecar) -> RedisStore:
    sidecar.destroys = True
    store = RedisStore(sidecar, component())
    await ready(store, sidecar)
    return store


@pytest.fixture
async def sql(sidecar: FakeSidecar) -> SqlStore:
    store = SqlStore(sidecar, component("state.postgresql"))
    await ready(store, sidecar)
    return store


def write(
    key: str = "k", etag: str | None = "7", *, keep_for: timedelta | None = None, consistency: Consistency = STRONG
) -> CompareAndSet:
    return CompareAndSet(
        key=key, etag=StoreEtag(etag) if etag else None, data=b"data", keep_for=keep_for, consistency=consistency
    )


# What failures mean

SAVING = "failed saving state in state store store: "
MISMATCH = "possible etag mismatch. error from state store: "
TRANSACTION = "error while executing state transaction: "
SCRIPT_7 = "ERR user_script:12: failed to set key redis||{key} script: 6f4bd3b0a1, on @user_script:12."
SCRIPT_6 = "ERR Error running script (call to f_6f4bd3b0a1): @user_script:12: user_script:12: failed to set key {key} "

NETWORK = [
    "read tcp 172.17.0.3:40122->172.17.0.2:6379: i/o timeout",
    "dial tcp 172.17.0.2:6379: connect: connection refused",
    "dial tcp: lookup redis on 127.0.0.11:53: no such host",
    "write tcp 172.17.0.3:40122->172.17.0.2:6379: write: broken pipe",
    "read tcp 172.17.0.3:40122->172.17.0.2:6379: read: connection reset by peer",
    "use of closed network connection",
    "EOF",
    "unexpected EOF",
    "redis: connection pool timeout",
    "context deadline exceeded",
    "context canceled",
]

ANYWHERE = [
    (
        StatusCode.UNAVAILABLE,
        "failed to connect to all addresses; last error: UNKNOWN: Connection refused",
        Fate.FAILED,
    ),
    (StatusCode.UNAVAILABLE, "Socket closed", Fate.UNCERTAIN),
    (StatusCode.UNAVAILABLE, "GOAWAY received", Fate.UNCERTAIN),
    (StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", Fate.UNCERTAIN),
    (StatusCode.CANCELLED, "context canceled", Fate.UNCERTAIN),
    (StatusCode.UNKNOWN, "Stream removed", Fate.UNCERTAIN),
    (StatusCode.INVALID_ARGUMENT, "state store other is not found", Fate.FAILED),
    (StatusCode.INVALID_ARGUMENT, "input key/keyPrefix 'a||b' can't contain '||'", Fate.FAILED),
    (StatusCode.FAILED_PRECONDITION, "state store is not configured", Fate.FAILED),
    (StatusCode.UNIMPLEMENTED, "state store store doesn't support transaction", Fate.FAILED),
    (StatusCode.UNAUTHENTICATED, "authentication error: api token mismatch", Fate.FAILED),
    (StatusCode.PERMISSION_DENIED, "api token missing", Fate.FAILED),
    (StatusCode.RESOURCE_EXHAUSTED, "grpc: received message larger than max (5242880 vs. 4194304)", Fate.FAILED),
    (StatusCode.RESOURCE_EXHAUSTED, "CLIENT: Sent message larger than max (17000000 vs. 16777216)", Fate.FAILED),
    (StatusCode.RESOURCE_EXHAUSTED, "too many requests", Fate.UNCERTAIN),
    (StatusCode.INTERNAL, "a text that nobody has seen yet", Fate.UNCERTAIN),
]

OUT_OF_MEMORY = "OOM command not allowed when used memory > 'maxmemory'."

ON_REDIS = [
    (StatusCode.INTERNAL, TRANSACTION + SCRIPT_7.format(key="k"), Fate.REFUSED),
    (StatusCode.INTERNAL, TRANSACTION + SCRIPT_6.format(key="k"), Fate.REFUSED),
    (StatusCode.ABORTED, SAVING + MISMATCH + SCRIPT_7.format(key="k"), Fate.REFUSED),
    # The component's words for any failure of a conditional write: they prove nothing.
    (StatusCode.ABORTED, SAVING + MISMATCH + "something else", Fate.UNCERTAIN),
    *[(StatusCode.ABORTED, SAVING + MISMATCH + cause, Fate.UNCERTAIN) for cause in NETWORK],
    *[(StatusCode.INTERNAL, TRANSACTION + cause, Fate.UNCERTAIN) for cause in NETWORK],
    *[
        (StatusCode.INTERNAL, TRANSACTION + SCRIPT_7.format(key="k") + "; " + cause, Fate.UNCERTAIN)
        for cause in NETWORK
    ],
    (StatusCode.INTERNAL, TRANSACTION + "LOADING Redis is loading the dataset in memory", Fate.UNCERTAIN),
    (StatusCode.INTERNAL, TRANSACTION + "READONLY You can't write against a read only replica.", Fate.UNCERTAIN),
    (StatusCode.INTERNAL, TRANSACTION + "EXECABORT Transaction discarded because of previous errors.", Fate.FAILED),
    (StatusCode.ABORTED, SAVING + MISMATCH + OUT_OF_MEMORY, Fate.FAILED),
    (StatusCode.INTERNAL, TRANSACTION + OUT_OF_MEMORY, Fate.FAILED),
    (StatusCode.UNAVAILABLE, SCRIPT_7.format(key="k"), Fate.UNCERTAIN),
]

ON_SQL = [
    (StatusCode.ABORTED, SAVING + MISMATCH + "%!w(<nil>)", Fate.REFUSED),
    (StatusCode.ABORTED, SAVING + "possible etag mismatch. error from state store", Fate.REFUSED),
    (StatusCode.ABORTED, SAVING + MISMATCH + "item already exists and no etag was passed", Fate.REFUSED),
    (StatusCode.INTERNAL, SAVING + "no item was updated", Fate.REFUSED),
    (StatusCode.INTERNAL, TRANSACTION + MISMATCH, Fate.REFUSED),
    (StatusCode.INTERNAL, TRANSACTION + "no item was updated", Fate.REFUSED),
    *[(StatusCode.ABORTED, SAVING + MISMATCH + cause, Fate.UNCERTAIN) for cause in NETWORK],
    *[(StatusCode.INTERNAL, SAVING + "no item was updated: " + cause, Fate.UNCERTAIN) for cause in NETWORK],
    *[(StatusCode.INTERNAL, TRANSACTION + cause, Fate.UNCERTAIN) for cause in NETWORK],
    (StatusCode.INTERNAL, SAVING + "database is locked (5) (SQLITE_BUSY)", Fate.UNCERTAIN),
    (StatusCode.INTERNAL, TRANSACTION + "database or disk is full (13)", Fate.FAILED),
    (StatusCode.INTERNAL, SAVING + "ERROR: could not extend file (SQLSTATE 53100)", Fate.FAILED),
    (StatusCode.INTERNAL, TRANSACTION + "ERROR: deadlock detected (SQLSTATE 40P01)", Fate.UNCERTAIN),
    (StatusCode.INTERNAL, TRANSACTION + "FATAL: terminating connection (SQLSTATE 57P01)", Fate.UNCERTAIN),
    (StatusCode.UNAVAILABLE, MISMATCH, Fate.UNCERTAIN),
]


@pytest.mark.parametrize(("code", "text", "fate"), [*ANYWHERE, *ON_REDIS])
async def test_a_failure_of_redis_is_what_its_words_prove(
    sidecar: FakeSidecar, redis: RedisStore, code: StatusCode, text: str, fate: Fate
) -> None:
    sidecar.fail("transact", code, text)
    [outcome] = await redis.write([write()], timeout=1)
    assert outcome.fate is fate
    assert text in outcome.detail
    assert outcome.next_etag is None


@pytest.mark.parametrize(("code", "text", "fate"), [*ANYWHERE, *ON_SQL])
@pytest.mark.parametrize("call", ["save", "transact"])
async def test_a_failure_of_a_sql_store_is_what_its_words_prove(
    sidecar: FakeSidecar, sql: SqlStore, code: StatusCode, text: str, fate: Fate, call: str
) -> None:
    sidecar.fail(call, code, text)
    outcome = (await sql.write([write()], timeout=1))[0] if call == "save" else await sql.transact([write()], timeout=1)
    assert outcome.fate is fate
    assert text in outcome.detail


@pytest.mark.parametrize(("code", "text", "fate"), [*ANYWHERE, *ON_REDIS])
async def test_of_several_writes_on_redis_no_refusal_is_certain(
    sidecar: FakeSidecar, redis: RedisStore, code: StatusCode, text: str, fate: Fate
) -> None:
    sidecar.fail("transact", code, text)
    outcomes = await redis.write([write("k"), write("l")], timeout=1)
    # A script that finds no memory inside a transaction fails alone.
    expected = Fate.UNCERTAIN if fate is Fate.REFUSED or OUT_OF_MEMORY in text else fate
    assert [outcome.fate for outcome in outcomes] == [expected, expected]


# Keys that look like words of the network, and keys so short that they are in every word.
TRICKY = [
    "i",
    "e",
    "t",
    "/o",
    "eof",
    "EOF",
    "i%2Fo timeout",
    "deadline exceeded",
    "connection refused",
    "o t",
    "failed",
]


@pytest.mark.parametrize("key", TRICKY)
@pytest.mark.parametrize("script", [SCRIPT_6, SCRIPT_7])
async def test_a_key_does_not_make_a_refusal_look_like_an_outage(
    sidecar: FakeSidecar, redis: RedisStore, key: str, script: str
) -> None:
    sidecar.fail("transact", StatusCode.INTERNAL, TRANSACTION + script.format(key=key))
    [outcome] = await redis.write([write(key)], timeout=1)
    assert outcome.fate is Fate.REFUSED


@pytest.mark.parametrize("cause", NETWORK)
@pytest.mark.parametrize("key", TRICKY)
async def test_a_key_does_not_make_an_outage_look_like_a_refusal(
    sidecar: FakeSidecar, redis: RedisStore, key: str, cause: str
) -> None:
    sidecar.fail("transact", StatusCode.ABORTED, SAVING + MISMATCH + SCRIPT_7.format(key=key) + " " + cause)
    [outcome] = await redis.write([write(key)], timeout=1)
    assert outcome.fate is Fate.UNCERTAIN
    sql = SqlStore(sidecar, component("state.sqlite"))
    sidecar.fail("save", StatusCode.ABORTED, SAVING + MISMATCH + cause)
    [outcome] = await sql.write([write(key)], timeout=1)
    assert outcome.fate is Fate.UNCERTAIN


@pytest.mark.parametrize("cause", NETWORK)
def test_each_word_of_the_network_is_heard_whatever_the_keys_are(cause: str) -> None:
    assert mentions_network(cause, [])
    assert mentions_network(MISMATCH + cause.upper(), TRICKY)


@pytest.mark.parametrize("key", ["EXECABORT", "OOM command not allowed"])
async def test_a_key_does_not_make_a_refusal_look_like_a_full_redis(
    sidecar: FakeSidecar, redis: RedisStore, key: str
) -> None:
    """Of several writes some were applied: to say of all that nothing was would be false."""
    for writes, fate in (([write(key)], Fate.REFUSED), ([write(key), write("l")], Fate.UNCERTAIN)):
        sidecar.fail("transact", StatusCode.INTERNAL, TRANSACTION + SCRIPT_7.format(key=key))
        assert {outcome.fate for outcome in await redis.write(writes, timeout=1)} == {fate}


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


def test_redis_does_not_roll_back_and_does_not_tell_expiries() -> None:
    assert RedisStore.transactions_lack is not None
    assert not RedisStore.tells_expiry


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
    assert store.transactions_lack
    await store.write([write("a"), write("b")], timeout=1)
    assert [asked.call for asked in sidecar.asked] == ["save"]


async def test_a_refused_transaction_is_refused_whole(sidecar: FakeSidecar, sql: SqlStore) -> None:
    assert sql.transactions_lack is None
    sidecar.fail("transact", StatusCode.INTERNAL, TRANSACTION + "no item was updated")
    assert (await sql.transact([write("b"), write("a")], timeout=1)).fate is Fate.REFUSED
    assert [item.key for item in sidecar.asked[0].items] == ["a", "b"]


# Adoption

RAW = Stored(data=b"raw", etag=StoreEtag("3"))


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


# The probe


async def test_the_first_write_is_preceded_by_a_probe_and_the_next_is_not(sidecar: FakeSidecar) -> None:
    store = RedisStore(sidecar, component())
    assert await store.prepare(timeout=1) is None
    assert await store.prepare(timeout=1) is None
    assert [asked.call for asked in sidecar.asked] == ["transact", "get"]
    [item] = sidecar.asked[0].items
    assert (item.key, item.etag, item.ttl_seconds, item.create_only) == (internal_key("probe"), None, -1, False)
    assert store.transactions_keep_values


@pytest.mark.parametrize("call", ["transact", "get"])
async def test_a_probe_that_fails_is_made_again(sidecar: FakeSidecar, call: str) -> None:
    store = RedisStore(sidecar, component())
    sidecar.fail(call, StatusCode.UNAVAILABLE, "failed to connect to all addresses")
    assert isinstance(await store.prepare(timeout=1), Failure)
    assert await store.prepare(timeout=1) is None
    assert store.transactions_keep_values


async def test_a_sidecar_that_came_back_is_probed_again(sidecar: FakeSidecar) -> None:
    """Its component file may be another: one that encrypts."""
    store = RedisStore(sidecar, component())
    await store.prepare(timeout=1)
    assert store.transactions_keep_values
    sidecar.connection += 1
    sidecar.destroys = True
    assert await store.prepare(timeout=1) is None
    assert not store.transactions_keep_values


async def test_a_probe_that_another_instance_overwrote_tells_the_same(sidecar: FakeSidecar) -> None:
    store, other = RedisStore(sidecar, component()), RedisStore(sidecar, component())
    await other.prepare(timeout=1)
    theirs = sidecar.values[internal_key("probe")]
    sidecar.values.clear()

    async def overwritten(*_: object, **__: object) -> Stored:
        return theirs

    sidecar.get = overwritten  # type: ignore[method-assign]
    assert await store.prepare(timeout=1) is None
    assert store.transactions_keep_values


async def test_a_probe_whose_value_is_gone_keeps_no_values(sidecar: FakeSidecar) -> None:
    store = RedisStore(sidecar, component())

    async def nothing(*_: object, **__: object) -> None:
        pass

    sidecar.get = nothing  # type: ignore[method-assign]
    await store.prepare(timeout=1)
    assert not store.transactions_keep_values


# Reading


async def test_one_key_is_read_by_a_single_read_with_its_consistency(sidecar: FakeSidecar, sql: SqlStore) -> None:
    sidecar.values["k"] = RAW
    assert await sql.read(["k"], consistency=Consistency.EVENTUAL, sure=False, timeout=1) == {"k": RAW}
    assert await sql.read(["none"], consistency=STRONG, sure=False, timeout=1) == {"none": Absence.CERTAIN}
    assert [(asked.call, asked.consistency) for asked in sidecar.asked] == [
        ("get", Consistency.EVENTUAL),
        ("get", Consistency.STRONG),
    ]


async def test_no_keys_are_read_by_no_call(sidecar: FakeSidecar, sql: SqlStore) -> None:
    assert await sql.read([], consistency=STRONG, sure=False, timeout=1) == {}
    assert sidecar.asked == []


async def test_several_keys_are_read_by_one_call_and_matched_by_key(sidecar: FakeSidecar, sql: SqlStore) -> None:
    sidecar.values.update(a=RAW, c=RAW)
    found = await sql.read(["a", "b", "c"], consistency=STRONG, sure=False, timeout=1)
    assert found == {"a": RAW, "b": Absence.LIKELY, "c": RAW}
    assert [asked.call for asked in sidecar.asked] == ["get_bulk"]


async def test_an_absence_is_certain_where_a_bulk_read_is_single_reads(sidecar: FakeSidecar, redis: RedisStore) -> None:
    found = await redis.read(["a", "b"], consistency=STRONG, sure=True, timeout=1)
    assert found == {"a": Absence.CERTAIN, "b": Absence.CERTAIN}
    assert [asked.call for asked in sidecar.asked] == ["get_bulk"]


async def test_who_must_be_sure_of_absences_reads_each_key_alone(sidecar: FakeSidecar, sql: SqlStore) -> None:
    keys = [f"k{number}" for number in range(100)]
    found = await sql.read(keys, consistency=STRONG, sure=True, timeout=1)
    assert found == dict.fromkeys(keys, Absence.CERTAIN)
    assert {asked.call for asked in sidecar.asked} == {"get"}


async def test_a_key_that_fails_fails_alone(sidecar: FakeSidecar, redis: RedisStore) -> None:
    sidecar.values.update(a=RAW)
    sidecar.bulk["b"] = BulkItem(stored=None, error="i/o timeout")
    found = await redis.read(["a", "b", "c"], consistency=STRONG, sure=False, timeout=1)
    assert found == {"a": RAW, "b": Failure(detail="i/o timeout"), "c": Absence.CERTAIN}


async def test_a_key_that_the_answer_leaves_out_is_no_certain_absence(sidecar: FakeSidecar, redis: RedisStore) -> None:
    sidecar.bulk["b"] = BulkItem(stored=None, error="left out")
    found = await redis.read(["a", "b"], consistency=STRONG, sure=False, timeout=1)
    assert found == {"a": Absence.CERTAIN, "b": Absence.LIKELY}


async def test_an_outage_fails_every_key(sidecar: FakeSidecar, sql: SqlStore) -> None:
    sidecar.fail("get_bulk", StatusCode.UNAVAILABLE, "Socket closed")
    found = await sql.read(["a", "b"], consistency=STRONG, sure=False, timeout=1)
    assert all(isinstance(each, Failure) for each in found.values())
    sidecar.fail("get", StatusCode.INTERNAL, "fail to get a from state store")
    assert isinstance((await sql.read(["a"], consistency=STRONG, sure=False, timeout=1))["a"], Failure)


@pytest.mark.parametrize("count", [2, 3, 7, 128])
async def test_an_answer_that_is_too_large_is_asked_for_in_parts(
    sidecar: FakeSidecar, sql: SqlStore, count: int
) -> None:
    keys = [f"k{number}" for number in range(count)]
    sidecar.values.update({key: Stored(data=bytes(100), etag=StoreEtag("1")) for key in keys})
    sidecar.message_limit = 250
    found = await sql.read(keys, consistency=STRONG, sure=False, timeout=1)
    assert list(found) == keys
    assert all(isinstance(each, Stored) for each in found.values())
    assert all(len(asked.keys) <= 2 for asked in sidecar.asked[-2:])


async def test_a_value_that_is_too_large_by_itself_fails_alone(sidecar: FakeSidecar, sql: SqlStore) -> None:
    sidecar.values.update({key: Stored(data=bytes(100), etag=StoreEtag("1")) for key in "abcd"})
    sidecar.values["c"] = Stored(data=bytes(1000), etag=StoreEtag("1"))
    sidecar.message_limit = 250
    too_large = "CLIENT: Received message larger than max (1000 vs. 250)"
    sidecar.succeed("get")
    original = sidecar.get

    async def get(store: str, key: str, *, consistency: Consistency, timeout: float) -> Stored | None:
        if key == "c":
            raise SidecarError(StatusCode.RESOURCE_EXHAUSTED, too_large)
        return await original(store, key, consistency=consistency, timeout=timeout)

    sidecar.get = get  # type: ignore[method-assign]
    found = await sql.read(["a", "b", "c", "d"], consistency=STRONG, sure=False, timeout=1)
    assert [type(each) for each in found.values()] == [Stored, Stored, Failure, Stored]


async def test_a_value_of_zero_bytes_is_no_absence(sidecar: FakeSidecar, sql: SqlStore) -> None:
    sidecar.values.update(a=Stored(data=b"", etag=StoreEtag("1")))
    found = await sql.read(["a", "b"], consistency=STRONG, sure=False, timeout=1)
    assert found["a"] == sidecar.values["a"]


def test_a_failures_text_is_for_the_log() -> None:
    error = SidecarError(StatusCode.INTERNAL, "what the sidecar said")
    assert str(error) == "INTERNAL: what the sidecar said"
