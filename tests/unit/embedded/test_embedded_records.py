"""Single records: the rules of daprd's state.sqlite for etags, first writes, keys and times to live."""

from __future__ import annotations

import asyncio
import uuid

import grpc
import pytest

from tests.unit.embedded.driver import FIRST_WRITE, LAST_WRITE, Caller, Clock, failure_of, item

ABORTED = grpc.StatusCode.ABORTED
INTERNAL = grpc.StatusCode.INTERNAL
INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT
MISMATCH = "possible etag mismatch. error from state store"


async def test_a_missing_key_has_no_data_and_an_empty_etag(caller: Caller) -> None:
    found = await caller.get("absent")
    assert (found.data, found.etag, dict(found.metadata)) == (b"", "", {})


@pytest.mark.parametrize("value", [b"", b"hello", b'{"a": 1}', bytes(range(256)), b"\0" * 1_048_576])
async def test_bytes_come_back_as_they_were(caller: Caller, value: bytes) -> None:
    await caller.save(item("k", value))
    found = await caller.get("k")
    assert found.data == value
    assert found.etag


@pytest.mark.parametrize("key", ["a", "a|b", "|a", "a|", "a/b:c", "ключ", "a\0b", "a\0c", "x" * 4096, "a'; --"])
async def test_a_key_is_just_text(caller: Caller, key: str) -> None:
    await caller.save(item(key, key.encode()), item(key + "2", b"other"))
    assert (await caller.get(key)).data == key.encode()
    assert [(found.key, found.data) for found in await caller.get_many([key])] == [(key, key.encode())]


async def test_every_write_gives_a_new_uuid_as_etag(caller: Caller) -> None:
    etags = set()
    for _ in range(3):
        await caller.save(item("k", b"same"))
        etags.add((await caller.get("k")).etag)
    assert len({str(uuid.UUID(etag)) for etag in etags}) == 3


@pytest.mark.parametrize("concurrency", [None, FIRST_WRITE, LAST_WRITE])
async def test_a_save_with_the_present_etag_goes_through_once(caller: Caller, concurrency: int | None) -> None:
    await caller.save(item("k", b"1"))
    etag = (await caller.get("k")).etag
    await caller.save(item("k", b"2", etag=etag, concurrency=concurrency))
    failure = await failure_of(caller.save(item("k", b"3", etag=etag, concurrency=concurrency)))
    assert (failure.code, failure.reason) == (ABORTED, "ERR_STATE_SAVE")
    assert failure.text == f"failed saving state in state store embedded: {MISMATCH}"
    assert (await caller.get("k")).data == b"2"


@pytest.mark.parametrize("etag", [str(uuid.uuid4()), "-1", "1", "no etag at all", "ü"])
async def test_an_etag_on_an_absent_key_creates_nothing(caller: Caller, etag: str) -> None:
    assert (await failure_of(caller.save(item("k", b"1", etag=etag)))).code == ABORTED
    assert (await caller.get("k")).etag == ""


@pytest.mark.parametrize("etag", ["-1", "1", "no etag at all"])
async def test_a_malformed_etag_is_a_mismatch(caller: Caller, etag: str) -> None:
    await caller.save(item("k", b"1"))
    assert (await failure_of(caller.save(item("k", b"2", etag=etag)))).code == ABORTED
    assert (await failure_of(caller.delete("k", etag=etag))).code == ABORTED


async def test_an_empty_etag_is_none(caller: Caller) -> None:
    await caller.save(item("k", b"1", etag=""))
    await caller.save(item("k", b"2", etag=""))
    await caller.delete("k", etag="")
    await caller.delete("k", etag="")


@pytest.mark.parametrize("concurrency", [None, LAST_WRITE])
async def test_a_save_without_etag_overwrites(caller: Caller, concurrency: int | None) -> None:
    await caller.save(item("k", b"1", concurrency=FIRST_WRITE))
    await caller.save(item("k", b"2", concurrency=concurrency))
    assert (await caller.get("k")).data == b"2"


async def test_a_first_write_without_etag_only_creates(caller: Caller) -> None:
    await caller.save(item("k", b"1", concurrency=FIRST_WRITE))
    failure = await failure_of(caller.save(item("k", b"2", concurrency=FIRST_WRITE)))
    assert (failure.code, failure.text) == (ABORTED, f"failed saving state in state store embedded: {MISMATCH}")
    assert (await caller.get("k")).data == b"1"


async def test_a_deletion_is_idempotent_without_etag(caller: Caller) -> None:
    await caller.save(item("k", b"1"))
    await caller.delete("k")
    await caller.delete("k")
    assert (await caller.get("k")).etag == ""


async def test_a_deletion_with_etag_wants_exactly_that_record(caller: Caller) -> None:
    await caller.save(item("k", b"1"))
    old = (await caller.get("k")).etag
    await caller.save(item("k", b"2"))
    failure = await failure_of(caller.delete("k", etag=old))
    assert (failure.code, failure.reason) == (ABORTED, "ERR_STATE_DELETE")
    assert failure.text == f"failed deleting state with key k: {MISMATCH}"
    await caller.delete("k", etag=(await caller.get("k")).etag)
    assert (await failure_of(caller.delete("k", etag=old))).code == ABORTED


async def test_an_etag_never_matches_a_later_life(caller: Caller) -> None:
    await caller.save(item("k", b"1"))
    etag = (await caller.get("k")).etag
    await caller.delete("k")
    await caller.save(item("k", b"1"))
    assert (await failure_of(caller.save(item("k", b"2", etag=etag)))).code == ABORTED


async def test_an_unknown_store_is_refused_by_every_call(caller: Caller) -> None:
    other = Caller(stub=caller.stub, store="other")
    calls = [
        other.get("k"),
        other.get_many(["k"]),
        other.save(item("k")),
        other.save(),
        other.delete("k"),
        other.delete_many(item("k")),
        other.transact(("upsert", item("k"))),
    ]
    for call in calls:
        failure = await failure_of(call)
        assert (failure.code, failure.text) == (INVALID_ARGUMENT, "state store other is not found")
        assert failure.reason == "DAPR_STATE_NOT_FOUND"


async def test_the_separator_in_a_key_is_refused_by_every_call(caller: Caller) -> None:
    good = item("good", b"1")
    calls = [
        caller.get("a||b"),
        caller.get_many(["good", "a||b"]),
        caller.save(good, item("a||b")),
        caller.delete("a||b"),
        caller.delete_many(good, item("a||b")),
        caller.transact(("upsert", good), ("upsert", item("a||b"))),
        caller.transact(("upsert", good), ("delete", item("a||b"))),
    ]
    for call in calls:
        failure = await failure_of(call)
        assert (failure.code, failure.text) == (INVALID_ARGUMENT, "input key/keyPrefix 'a||b' can't contain '||'")
        assert failure.reason == "DAPR_STATE_ILLEGAL_KEY"
    assert (await caller.get("good")).etag == ""


async def test_an_empty_key_is_refused_by_save_alone(caller: Caller) -> None:
    failure = await failure_of(caller.save(item("good", b"1"), item("", b"2")))
    assert (failure.code, failure.text) == (INVALID_ARGUMENT, "state key cannot be empty")
    assert (await caller.get("good")).etag == ""
    assert (await caller.get("")).etag == ""
    await caller.delete("")
    await caller.transact(("upsert", item("", b"3")))
    assert (await caller.get("")).data == b"3"


async def test_a_failure_of_a_huge_key_still_arrives(caller: Caller) -> None:
    for key in ("k" * 100_000, "ключ" * 20_000):
        assert (await failure_of(caller.delete(key, etag="1"))).code == ABORTED
        assert (await failure_of(caller.get(key + "||"))).code == INVALID_ARGUMENT


async def test_of_64_writers_with_one_etag_one_wins(caller: Caller) -> None:
    await caller.save(item("k", b"start"))
    etag = (await caller.get("k")).etag
    saves = (caller.save(item("k", str(number).encode(), etag=etag)) for number in range(64))
    results = await asyncio.gather(*saves, return_exceptions=True)
    winners = [number for number, result in enumerate(results) if result is None]
    assert len(winners) == 1
    assert (await caller.get("k")).data == str(winners[0]).encode()
    losers = [result for result in results if result is not None]
    assert {error.code() for error in losers if isinstance(error, grpc.aio.AioRpcError)} == {ABORTED}


async def test_of_64_first_writes_one_wins(caller: Caller) -> None:
    saves = (caller.save(item("k", b"x", concurrency=FIRST_WRITE)) for _ in range(64))
    results = await asyncio.gather(*saves, return_exceptions=True)
    assert results.count(None) == 1


async def test_no_increment_is_lost(caller: Caller) -> None:
    async def increment() -> None:
        while True:
            found = await caller.get("counter")
            try:
                await caller.save(item("counter", b"%d" % (int(found.data) + 1), etag=found.etag))
            except grpc.aio.AioRpcError as error:
                if error.code() != ABORTED:
                    raise
            else:
                return

    await caller.save(item("counter", b"0"))
    await asyncio.gather(*(increment() for _ in range(32)))
    assert (await caller.get("counter")).data == b"32"


async def test_an_expired_record_is_as_good_as_absent(caller: Caller, clock: Clock) -> None:
    await caller.save(item("k", b"1", ttl="10"))
    etag = (await caller.get("k")).etag
    clock.advance(9)
    assert (await caller.get("k")).data == b"1"
    clock.advance(1)
    found = await caller.get("k")
    assert (found.data, found.etag, dict(found.metadata)) == (b"", "", {})
    assert [found.etag for found in await caller.get_many(["k"])] == [""]
    assert (await failure_of(caller.save(item("k", b"2", etag=etag)))).code == ABORTED
    assert (await failure_of(caller.delete("k", etag=etag))).code == ABORTED


async def test_a_first_write_takes_the_place_of_an_expired_record(caller: Caller, clock: Clock) -> None:
    await caller.save(item("k", b"1", ttl="10"))
    assert (await failure_of(caller.save(item("k", b"2", concurrency=FIRST_WRITE)))).code == ABORTED
    clock.advance(10)
    await caller.save(item("k", b"2", concurrency=FIRST_WRITE))
    found = await caller.get("k")
    assert (found.data, dict(found.metadata)) == (b"2", {})


async def test_the_expiry_is_told_in_rfc3339(caller: Caller, clock: Clock) -> None:
    clock.now = 1_800_000_000.9
    await caller.save(item("k", b"1", ttl="60"))
    told = {"ttlExpireTime": "2027-01-15T08:01:00Z"}
    assert dict((await caller.get("k")).metadata) == told
    assert [dict(found.metadata) for found in await caller.get_many(["k"])] == [told]


@pytest.mark.parametrize("ttl", [None, "", "-1", "0"])
async def test_a_save_without_a_time_to_live_clears_it(caller: Caller, clock: Clock, ttl: str | None) -> None:
    await caller.save(item("k", b"1", ttl="10"))
    await caller.save(item("k", b"2", ttl=ttl, etag=(await caller.get("k")).etag))
    await caller.save(item("l", b"1", ttl="10"))
    await caller.save(item("l", b"2", ttl=ttl))
    clock.advance(1_000_000)
    assert (await caller.get("k")).data == b"2"
    assert (await caller.get("l")).data == b"2"


async def test_a_refused_save_leaves_value_and_expiry_alone(caller: Caller, clock: Clock) -> None:
    await caller.save(item("k", b"1"))
    assert (await failure_of(caller.save(item("k", b"2", etag="other", ttl="1")))).code == ABORTED
    assert (await failure_of(caller.save(item("k", b"2", concurrency=FIRST_WRITE, ttl="1")))).code == ABORTED
    clock.advance(1_000_000)
    assert (await caller.get("k")).data == b"1"


@pytest.mark.parametrize(
    ("ttl", "cause"),
    [
        ("ten", 'strconv.ParseInt: parsing "ten": invalid syntax'),
        ("1.5", "invalid syntax"),
        (" 1", "invalid syntax"),
        ("1_0", "invalid syntax"),
        ("\u0661", "invalid syntax"),
        ("-2", "must be -1 or greater"),
        ("2147483648", "must be -1 or greater"),
        ("-9223372036854775808", "must be -1 or greater"),
        ("9223372036854775808", 'parsing "9223372036854775808": value out of range'),
        ("9" * 10_000, "value out of range"),
        ("x" * 100_000, "invalid syntax"),
    ],
)
async def test_a_bad_time_to_live_is_an_error(caller: Caller, ttl: str, cause: str) -> None:
    failure = await failure_of(caller.save(item("k", b"1", ttl=ttl)))
    assert failure.code == INTERNAL
    assert "error parsing TTL: incorrect value for metadata 'ttlInSeconds': " in failure.text
    assert cause in failure.text
    assert (await caller.get("k")).etag == ""


@pytest.mark.parametrize("ttl", ["+5", "005", "2147483647"])
async def test_a_time_to_live_is_any_integer_in_range(caller: Caller, ttl: str) -> None:
    await caller.save(item("k", b"1", ttl=ttl))
    assert "ttlExpireTime" in (await caller.get("k")).metadata
