"""What Dapr's state stores do by themselves, seen on a real sidecar: the evidence for docs/stores.md.

Nothing of the service is in between, only Dapr's own API. A test that fails with a newer daprd shows a fact that
changed; then docs/stores.md and what the service's stores make of it must be looked at again. The embedded store is
held to the same facts. What is of Redis alone is in test_redis_facts.py.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from functools import partial

import pytest

from tests.containers.facts import ABORTED, INTERNAL, INVALID, MIB, Ask, Odd, code_of, expired, value
from tests.contract.conftest import eventually
from tests.support.containers import Containers
from tests.support.servers import DaprContainer
from tests.unit.embedded.driver import FIRST_WRITE, LAST_WRITE, Caller, Failure, failure_of, item

pytestmark = pytest.mark.containers

SQL = ("postgresql", "sqlite", "embedded")
ROLLS_BACK = (*SQL, "memory")
STORES = ("redis", *ROLLS_BACK)
ENCRYPTED = ("redis", "postgresql", "sqlite", "memory")

every_store = pytest.mark.parametrize("store", STORES)
every_store_that_rolls_back = pytest.mark.parametrize("store", ROLLS_BACK)


def stale(store: str) -> str:
    """An etag of the right form that no key has."""
    return "77" if store == "redis" else str(uuid.uuid4())


# Single keys


@every_store
async def test_the_etag_alone_tells_a_missing_key_from_an_empty_value(caller: Caller, key: str, store: str) -> None:
    missing = await caller.get(key)
    assert (missing.data, missing.etag) == (b"", "")
    if store != "postgresql":  # which takes no empty value
        await caller.save(item(key, b""))
        assert (await caller.get(key)).etag != ""


@every_store
async def test_only_redis_uses_an_etag_again_in_a_later_life(caller: Caller, key: str, store: str) -> None:
    await caller.save(item(key, b"first life"))
    etag = (await caller.get(key)).etag
    await caller.delete(key)
    await caller.save(item(key, b"second life"))
    assert ((await caller.get(key)).etag == etag) == (store == "redis")
    assert await code_of(caller.save(item(key, b"late", etag=etag))) == ("OK" if store == "redis" else ABORTED)


@every_store_that_rolls_back
async def test_etag_minus_one_creates_nothing_elsewhere(caller: Caller, key: str, store: str) -> None:
    assert await code_of(caller.save(item(key, b"new", etag="-1"))) == ABORTED
    assert await value(caller, key) is None


@every_store
async def test_only_redis_creates_an_absent_key_for_an_etag(caller: Caller, key: str, store: str) -> None:
    code = await code_of(caller.save(item(key, b"new", etag=stale(store))))
    assert (code, await value(caller, key)) == (("OK", b"new") if store == "redis" else (ABORTED, None))
    absent = uuid.uuid4().hex
    assert await code_of(caller.delete(absent, etag=stale(store))) == ("OK" if store == "redis" else ABORTED)


@pytest.mark.parametrize(
    ("store", "code", "words"),
    [
        ("postgresql", INTERNAL, "no item was updated"),
        ("sqlite", ABORTED, "possible etag mismatch"),
        ("memory", ABORTED, "item already exists and no etag was passed"),
        ("embedded", ABORTED, "possible etag mismatch"),
    ],
)
async def test_a_first_write_without_etag_only_creates_but_on_redis(
    caller: Caller, key: str, code: str, words: str
) -> None:
    await caller.save(item(key, b"old", concurrency=FIRST_WRITE))
    refused = await failure_of(caller.save(item(key, b"new", concurrency=FIRST_WRITE)))
    assert (refused.code.name, words in refused.text) == (code, True)
    assert await value(caller, key) == b"old"
    await caller.save(item(key, b"new"))  # nothing sticks to the key


@every_store_that_rolls_back
async def test_last_write_with_an_etag_is_compared_but_on_redis(caller: Caller, key: str, store: str) -> None:
    await caller.save(item(key, b"old"))
    assert await code_of(caller.save(item(key, b"new", etag=stale(store), concurrency=LAST_WRITE))) == ABORTED


@every_store
async def test_a_malformed_etag_is_invalid_on_redis_and_a_mismatch_elsewhere(
    caller: Caller, key: str, store: str
) -> None:
    await caller.save(item(key, b"old"))
    assert await code_of(caller.save(item(key, b"new", etag="no etag"))) == (INVALID if store == "redis" else ABORTED)
    assert await code_of(caller.delete(key, etag="no etag")) == ABORTED
    assert await value(caller, key) == b"old"


@every_store
async def test_only_postgresql_takes_no_empty_value(caller: Caller, key: str, store: str) -> None:
    saved = await code_of(caller.save(item(key, b"")))
    in_transaction = await code_of(caller.transact(("upsert", item(key, b""))))
    assert {saved, in_transaction} == {INTERNAL if store == "postgresql" else "OK"}


@every_store
async def test_only_postgresql_takes_no_nul_in_a_key_and_its_bulk_read_calls_that_missing(
    caller: Caller, key: str, store: str
) -> None:
    key += "\0"
    saved = await code_of(caller.save(item(key, b"value")))
    read = await code_of(caller.get(key))
    (found,) = await caller.get_many([key])
    if store == "postgresql":
        assert (saved, read, found.etag, found.error) == (INTERNAL, INTERNAL, "", "")
    else:
        assert (saved, read, found.data) == ("OK", "OK", b"value")


@every_store
async def test_two_bars_in_a_key_are_refused_and_an_empty_key_by_save_alone(caller: Caller, store: str) -> None:
    bars = [
        caller.get("a||b"),
        caller.get_many(["a||b"]),
        caller.save(item("a||b")),
        caller.delete("a||b"),
        caller.transact(("upsert", item("a||b"))),
    ]
    for call in bars:
        refused = await failure_of(call)
        assert (refused.code.name, refused.reason) == (INVALID, "DAPR_STATE_ILLEGAL_KEY")
    assert await code_of(caller.save(item("", b"value"))) == INVALID
    assert await code_of(caller.transact(("upsert", item("", b"value")))) == "OK"
    await caller.delete("")


@every_store
async def test_json_that_is_called_so_in_metadata_is_written_anew_by_daprd(
    caller: Caller, key: str, store: str
) -> None:
    state = item(key, b"12345678901234567890")
    state.metadata["contentType"] = "application/json"
    await caller.save(state)
    kept = b"12345678901234567890" if store == "embedded" else b"12345678901234567000"
    assert await value(caller, key) == kept


@every_store
async def test_a_message_over_the_limit_is_turned_away(caller: Caller, key: str, store: str) -> None:
    assert await code_of(caller.save(item(key, bytes(16 * MIB)))) == "RESOURCE_EXHAUSTED"
    assert await value(caller, key) is None


# Time to live


@every_store
async def test_only_redis_keeps_the_ttl_over_a_later_save_and_minus_one_clears_it(
    caller: Caller, key: str, store: str, request: pytest.FixtureRequest
) -> None:
    async def expires() -> bool:
        if store == "redis":
            ask: Ask = request.getfixturevalue("ask")
            return ask("PTTL", key) != "-1"
        return "ttlExpireTime" in (await caller.get(key)).metadata

    await caller.save(item(key, b"1", ttl="100"))
    assert await expires()
    await caller.save(item(key, b"2"))
    assert await expires() == (store == "redis")
    await caller.save(item(key, b"3", ttl="100"))
    await caller.save(item(key, b"4", ttl="-1"))
    assert not await expires()


@every_store
async def test_only_redis_does_not_show_when_a_key_expires(caller: Caller, key: str, store: str) -> None:
    await caller.save(item(key, b"value", ttl="100"))
    (found,) = await caller.get_many([key])
    assert ("ttlExpireTime" in (await caller.get(key)).metadata) == (store != "redis")
    assert ("ttlExpireTime" in found.metadata) == (store != "redis")


@pytest.mark.parametrize("store", ["redis", "postgresql", "sqlite", "memory", "embedded"])
async def test_an_odd_ttl_is_an_error_or_means_none(caller: Caller, store: str) -> None:
    answers = [await code_of(caller.save(item(uuid.uuid4().hex, b"v", ttl=ttl))) for ttl in ("x", "-2", "0")]
    assert answers == [INTERNAL, INTERNAL if store in SQL else "OK", "OK"]


@every_store
async def test_an_etag_from_before_an_expiry_matches_nothing_but_creates_on_redis(
    caller: Caller, key: str, store: str
) -> None:
    await caller.save(item(key, b"first life", ttl="1"))
    etag = (await caller.get(key)).etag
    await expired(caller, key)
    assert await code_of(caller.save(item(key, b"late", etag=etag))) == ("OK" if store == "redis" else ABORTED)


# Transactions


@every_store
async def test_a_refused_transaction_leaves_the_other_writes_standing_on_redis_alone(
    caller: Caller, key: str, store: str
) -> None:
    other = uuid.uuid4().hex
    await caller.save(item(key, b"old"), item(other, b"old"))
    steps = ("upsert", item(key, b"new")), ("upsert", item(other, b"new", etag=stale(store)))
    refused = await failure_of(caller.transact(*steps))
    assert (refused.code.name, refused.reason) == (INTERNAL, "ERR_STATE_TRANSACTION")
    assert ("failed to set key" if store == "redis" else "possible etag mismatch") in refused.text
    assert await value(caller, key) == (b"new" if store == "redis" else b"old")
    assert await value(caller, other) == b"old"


@every_store
async def test_first_write_in_a_transaction_is_heard_but_on_redis(caller: Caller, key: str, store: str) -> None:
    await caller.save(item(key, b"old"))
    code = await code_of(caller.transact(("upsert", item(key, b"new", concurrency=FIRST_WRITE))))
    assert code == ("OK" if store == "redis" else INTERNAL)


@pytest.mark.parametrize("store", ENCRYPTED)
async def test_encryption_destroys_what_a_transaction_writes_and_nothing_else(odd: Odd, key: str, store: str) -> None:
    caller, other = odd(f"{store}-encrypted"), uuid.uuid4().hex
    await caller.transact(("upsert", item(key, b"hi")))
    assert await value(caller, key) == b"[104 105]"
    await caller.save(item(key, b"hi"), item(other, b""))  # also PostgreSQL: what is encrypted is never empty
    assert [(found.data, bool(found.etag)) for found in await caller.get_many([key])] == [(b"hi", True)]
    assert (await value(caller, key), await value(caller, other)) == (b"hi", b"")


# Bulk


@every_store
async def test_a_bulk_read_keeps_order_and_duplicates_on_redis_and_in_memory_alone(caller: Caller, store: str) -> None:
    present = [uuid.uuid4().hex for _ in range(3)]
    missing = uuid.uuid4().hex
    await caller.save(*(item(key, b"value") for key in present))
    asked = [present[2], missing, present[0], present[1], present[0]]
    found = [each.key for each in await caller.get_many(asked)]
    if store in SQL:
        assert (sorted(found[:-1]), found[-1]) == (sorted(present), missing)
    else:
        assert found == asked


@every_store
async def test_several_saves_are_independent_and_one_error_does_not_say_whose_it_is(
    caller: Caller, key: str, store: str
) -> None:
    others = [uuid.uuid4().hex for _ in range(3)]
    await caller.save(item(key, b"old"))
    states = [item(key, b"new", etag=stale(store)), *(item(other, b"new") for other in others)]
    refused = await failure_of(caller.save(*states))
    assert refused.code.name == ABORTED
    assert [await value(caller, each) for each in (key, *others)] == [b"old", b"new", b"new", b"new"]


@pytest.mark.parametrize("store", ["postgresql"])
async def test_several_saves_of_which_one_is_a_mismatch_are_all_called_so(caller: Caller, key: str) -> None:
    await caller.save(item(key, b"old"))
    failing = item("\0", b"no mismatch")
    assert await code_of(caller.save(failing)) == INTERNAL
    assert await code_of(caller.save(failing, item(key, b"new", etag=stale("postgresql")))) == ABORTED


# Outages


@pytest.mark.parametrize("store", ["postgresql"])
async def test_a_postgresql_that_is_gone_is_never_called_a_mismatch(
    containers: Containers, caller: Caller, odd: Odd, key: str
) -> None:
    """Mends what it breaks: each component has connections of its own, and dead ones fail once at their next use."""
    components = (caller, odd("postgresql-encrypted"), odd("postgresql-without-version"))
    await caller.save(item(key, b"value"))
    etag = (await caller.get(key)).etag
    await asyncio.to_thread(containers.postgres.kill)
    try:
        async with asyncio.timeout(30):
            failures: list[Failure] = [
                await failure_of(caller.save(item(key, b"new", etag=etag))),
                await failure_of(caller.transact(("upsert", item(key, b"new", etag=etag)))),
            ]
    finally:
        await asyncio.to_thread(containers.postgres.start)
        for component in components:
            await eventually(partial(_all_connections_work, component))
    assert [(each.code.name, "mismatch" in each.text) for each in failures] == [(INTERNAL, False)] * 2


async def _all_connections_work(caller: Caller) -> bool:
    reads = (caller.get(uuid.uuid4().hex) for _ in range(32))
    return not any(isinstance(each, BaseException) for each in await asyncio.gather(*reads, return_exceptions=True))


# Components


async def test_postgresql_without_a_version_is_v1_whose_etags_are_transaction_ids(
    odd_sidecar: DaprContainer, odd: Odd, key: str
) -> None:
    listed = json.loads(odd_sidecar.http("GET", "/v1.0/metadata")[1])["components"]
    (component,) = (each for each in listed if each["name"] == "postgresql-without-version")
    assert component.get("version", "") == ""
    caller = odd("postgresql-without-version")
    await caller.save(item(key, b"value"))
    assert (await caller.get(key)).etag.isdigit()
