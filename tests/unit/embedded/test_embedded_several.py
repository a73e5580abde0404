"""Several records in one call: independent saves and deletions, bulk reads, transactions."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from tests.unit.embedded.driver import FIRST_WRITE, Caller, Clock, failure_of, item

ABORTED = grpc.StatusCode.ABORTED
INTERNAL = grpc.StatusCode.INTERNAL
MISMATCH = "possible etag mismatch. error from state store"


async def test_an_empty_call_does_nothing(caller: Caller) -> None:
    await caller.save()
    await caller.delete_many()
    await caller.transact()
    assert await caller.get_many([]) == []


async def test_a_bulk_read_names_each_key_once_and_the_missing_ones_last(caller: Caller) -> None:
    await caller.save(item("a", b"1"), item("b", b""), item("c", b"3", ttl="10"))
    found = await caller.get_many(["no", "c", "a", "c", "no", "b"])
    assert sorted(entry.key for entry in found) == ["a", "b", "c", "no"]
    assert found[-1].key == "no"
    assert {entry.key: entry.data for entry in found} == {"a": b"1", "b": b"", "c": b"3", "no": b""}
    assert {entry.key for entry in found if entry.etag} == {"a", "b", "c"}
    assert {entry.key for entry in found if entry.metadata} == {"c"}
    assert not any(entry.error for entry in found)
    for entry in found:
        assert entry.etag == (await caller.get(entry.key)).etag


async def test_a_bulk_read_takes_any_number_of_keys(caller: Caller) -> None:
    keys = [f"k{number}" for number in range(5_000)]
    await caller.save(*(item(key, key.encode()) for key in keys))
    assert {entry.key: entry.data for entry in await caller.get_many(keys)} == {key: key.encode() for key in keys}


async def test_a_bulk_read_sees_one_moment(caller: Caller) -> None:
    keys = [f"k{number}" for number in range(2_000)]
    done = asyncio.Event()

    async def write() -> None:
        for round_ in range(10):
            await caller.transact(*(("upsert", item(key, b"%d" % round_)) for key in keys))
        done.set()

    async def read() -> None:
        while not done.is_set():
            assert len({entry.data for entry in await caller.get_many(keys)}) == 1

    await asyncio.gather(write(), read())


async def test_an_answer_over_the_limit_is_refused_and_harms_nothing(caller: Caller) -> None:
    keys = [f"k{number}" for number in range(17)]
    for key in keys:
        await caller.save(item(key, bytes(1024 * 1024)))
    assert (await failure_of(caller.get_many(keys))).code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await failure_of(caller.save(item("k", bytes(17 * 1024 * 1024))))).code == (
        grpc.StatusCode.RESOURCE_EXHAUSTED
    )
    assert (await caller.get("k0")).etag


async def test_a_failed_save_neither_hides_nor_undoes_another(caller: Caller) -> None:
    await caller.save(item("old", b"1"))
    failure = await failure_of(
        caller.save(item("a", b"1"), item("old", b"2", concurrency=FIRST_WRITE), item("b", b"1", etag="x"), item("c"))
    )
    assert failure.code == ABORTED
    assert failure.reason == "ERR_STATE_SAVE"
    assert failure.text == f"failed saving state in state store embedded: {MISMATCH}: {MISMATCH}\n{MISMATCH}"
    assert {entry.key: entry.data for entry in await caller.get_many(["a", "old", "b", "c"]) if entry.etag} == {
        "a": b"1",
        "old": b"1",
        "c": b"",
    }


async def test_a_bad_time_to_live_fails_alone(caller: Caller) -> None:
    failure = await failure_of(caller.save(item("a", b"1", ttl="x"), item("b", b"2")))
    assert failure.code == INTERNAL
    failure = await failure_of(caller.save(item("a", b"1", ttl="x"), item("c", b"2", etag="x"), item("d", b"3")))
    assert failure.code == ABORTED
    assert "error parsing TTL" in failure.text
    assert MISMATCH in failure.text
    assert {entry.key for entry in await caller.get_many("abcd") if entry.etag} == {"b", "d"}


async def test_many_failures_are_joined_into_a_text_that_arrives(caller: Caller) -> None:
    failure = await failure_of(caller.save(*(item(f"k{number}", etag="x") for number in range(1_000))))
    assert failure.code == ABORTED
    assert MISMATCH in failure.text


async def test_deletions_in_bulk_are_independent(caller: Caller) -> None:
    await caller.save(item("a"), item("b"), item("c"))
    etag = (await caller.get("c")).etag
    failure = await failure_of(caller.delete_many(item("a"), item("b", etag="x"), item("c", etag=etag), item("no")))
    assert (failure.code, failure.reason) == (ABORTED, "ERR_STATE_BULK_DELETE")
    assert failure.text == f"failed deleting state in state store embedded: {MISMATCH}: {MISMATCH}"
    assert {entry.key for entry in await caller.get_many("abc") if entry.etag} == {"b"}
    await caller.delete_many(item("b"), item("no"))
    assert (await caller.get("b")).etag == ""


async def test_a_transaction_applies_in_order(caller: Caller) -> None:
    await caller.save(item("a", b"1"))
    etag = (await caller.get("a")).etag
    await caller.transact(
        ("upsert", item("a", b"2", etag=etag)),
        ("delete", item("a")),
        ("upsert", item("a", b"3", concurrency=FIRST_WRITE)),
        ("upsert", item("b", b"4", ttl="10")),
        ("delete", item("no")),
    )
    assert {entry.key: entry.data for entry in await caller.get_many("ab")} == {"a": b"3", "b": b"4"}
    assert (await caller.get("b")).metadata["ttlExpireTime"]


@pytest.mark.parametrize(
    "bad",
    [
        ("upsert", item("x", b"9", etag="stale")),
        ("upsert", item("no", b"9", etag="any")),
        ("upsert", item("x", b"9", concurrency=FIRST_WRITE)),
        ("delete", item("x", etag="stale")),
        ("delete", item("no", etag="any")),
    ],
)
@pytest.mark.parametrize("position", [0, 1, 3])
async def test_a_refused_operation_rolls_everything_back(
    caller: Caller, bad: tuple[str, object], position: int
) -> None:
    await caller.save(item("x", b"1"), item("gone", b"1"))
    before = {entry.key: entry.etag for entry in await caller.get_many(["x", "gone", "new"])}
    steps = [("upsert", item("new", b"2")), ("delete", item("gone")), ("upsert", item("gone", b"3", ttl="5"))]
    steps.insert(position, bad)  # type: ignore[arg-type]
    failure = await failure_of(caller.transact(*steps))
    assert (failure.code, failure.reason) == (INTERNAL, "ERR_STATE_TRANSACTION")
    assert failure.text == f"error while executing state transaction: {MISMATCH}"
    assert {entry.key: entry.etag for entry in await caller.get_many(["x", "gone", "new"])} == before


@pytest.mark.parametrize("operation", [("upsert", item("x", b"9", etag="stale")), ("delete", item("x", etag="stale"))])
async def test_a_transaction_of_one_operation_fails_like_a_long_one(
    caller: Caller, operation: tuple[str, object]
) -> None:
    failure = await failure_of(caller.transact(operation))  # type: ignore[arg-type]
    assert (failure.code, failure.text) == (INTERNAL, f"error while executing state transaction: {MISMATCH}")


async def test_a_bad_time_to_live_rolls_everything_back(caller: Caller) -> None:
    failure = await failure_of(caller.transact(("upsert", item("a", b"1")), ("upsert", item("b", b"1", ttl="x"))))
    assert failure.code == INTERNAL
    assert failure.text.startswith("error while executing state transaction: error parsing TTL: ")
    failure = await failure_of(caller.transact(("delete", item("a", etag="x")), ("upsert", item("b", ttl="x"))))
    assert failure.text == f"error while executing state transaction: {MISMATCH}"
    assert (await caller.get("a")).etag == ""


async def test_an_unknown_operation_is_refused_before_anything_happens(caller: Caller) -> None:
    failure = await failure_of(caller.transact(("upsert", item("a", b"1")), ("increment", item("b"))))
    assert failure.code == grpc.StatusCode.UNIMPLEMENTED
    assert (failure.text, failure.reason) == (
        "operation type increment not supported",
        "ERR_NOT_SUPPORTED_STATE_OPERATION",
    )
    assert (await caller.get("a")).etag == ""


async def test_an_expired_record_is_absent_for_a_transaction_too(caller: Caller, clock: Clock) -> None:
    await caller.save(item("k", b"1", ttl="10"))
    etag = (await caller.get("k")).etag
    clock.advance(10)
    assert (await failure_of(caller.transact(("upsert", item("k", b"2", etag=etag))))).code == INTERNAL
    await caller.transact(("upsert", item("k", b"2", concurrency=FIRST_WRITE)), ("upsert", item("l")))
    assert (await caller.get("k")).data == b"2"


async def test_transfers_in_parallel_lose_no_money(caller: Caller) -> None:
    accounts = [f"account{number}" for number in range(8)]
    await caller.save(*(item(account, b"100") for account in accounts))

    async def transfer(source: str, target: str) -> None:
        while True:
            found = {entry.key: entry for entry in await caller.get_many([source, target])}
            try:
                await caller.transact(
                    ("upsert", item(source, b"%d" % (int(found[source].data) - 1), etag=found[source].etag)),
                    ("upsert", item(target, b"%d" % (int(found[target].data) + 1), etag=found[target].etag)),
                )
            except grpc.aio.AioRpcError as error:
                if MISMATCH not in (error.details() or ""):
                    raise
            else:
                return

    pairs = [(source, target) for source in accounts for target in accounts if source != target]
    await asyncio.gather(*(transfer(*pair) for pair in pairs))
    balances = [int(entry.data) for entry in await caller.get_many(accounts)]
    assert balances == [100] * 8
