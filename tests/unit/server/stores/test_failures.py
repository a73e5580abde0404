"""What failures are taken for."""

from __future__ import annotations

import pytest
from grpc import StatusCode

from keepstate_server.stores.base import Fate
from keepstate_server.stores.failures import mentions_network, mentions_trouble
from keepstate_server.stores.redis import RedisStore
from keepstate_server.stores.sidecar import SidecarError
from keepstate_server.stores.sql import SqlStore
from tests.unit.server.fake_sidecar import FakeSidecar
from tests.unit.server.stores.conftest import component, write
from tests.unit.server.stores.words import MISMATCH, NETWORK, SAVING, SCRIPT_6, SCRIPT_7, TRANSACTION, TRICKY

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
async def test_of_several_writes_on_redis_a_refusal_says_only_that_all_ran(
    sidecar: FakeSidecar, redis: RedisStore, code: StatusCode, text: str, fate: Fate
) -> None:
    sidecar.fail("transact", code, text)
    outcomes = await redis.write([write("k"), write("l")], timeout=1)
    # A script that finds no memory inside a transaction fails alone.
    expected = Fate.UNCERTAIN if OUT_OF_MEMORY in text else Fate.PARTLY if fate is Fate.REFUSED else fate
    assert [outcome.fate for outcome in outcomes] == [expected, expected]


async def test_of_several_saves_on_redis_a_refusal_says_nothing_of_the_others(
    sidecar: FakeSidecar, encrypted: RedisStore
) -> None:
    sidecar.fail("save", StatusCode.ABORTED, SCRIPT_7.format(key="k"))
    outcomes = await encrypted.write([write("k"), write("l")], timeout=1)
    assert [outcome.fate for outcome in outcomes] == [Fate.UNCERTAIN] * 2


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


@pytest.mark.parametrize("name", ["geofence", "eof", "uploading", "readonly"])
async def test_a_components_name_does_not_make_a_refusal_look_like_an_outage(sidecar: FakeSidecar, name: str) -> None:
    text = SAVING.replace("store store", f"store {name}") + MISMATCH + SCRIPT_7.format(key=f"{name}||k")
    assert not mentions_network(text, ["k"])
    assert not mentions_trouble(text)


@pytest.mark.parametrize("key", ["EXECABORT", "OOM command not allowed"])
async def test_a_key_does_not_make_a_refusal_look_like_a_full_redis(
    sidecar: FakeSidecar, redis: RedisStore, key: str
) -> None:
    """Of several writes some were applied: to say of all that nothing was would be false."""
    for writes, fate in (([write(key)], Fate.REFUSED), ([write(key), write("l")], Fate.PARTLY)):
        sidecar.fail("transact", StatusCode.INTERNAL, TRANSACTION + SCRIPT_7.format(key=key))
        assert {outcome.fate for outcome in await redis.write(writes, timeout=1)} == {fate}


def test_a_failures_text_is_for_the_log() -> None:
    error = SidecarError(StatusCode.INTERNAL, "what the sidecar said")
    assert str(error) == "INTERNAL: what the sidecar said"
