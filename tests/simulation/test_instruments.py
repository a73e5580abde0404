"""The simulation's own parts do what is said of them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from keepstate_server.domain.errors import (
    RecordChanged,
    RecordExists,
    RecordMissing,
    StoreUnavailable,
    UpdateNotApplicable,
)
from keepstate_server.domain.names import internal_key
from keepstate_server.domain.operations import Deleted, Found, Increment, Touched, Updated, Written
from keepstate_server.domain.records import ABSENT, Record, Version, etag_of
from keepstate_server.domain.times import Instant
from keepstate_server.engine.draft import Result
from keepstate_server.stores.base import StoreEtag
from keepstate_server.stores.sidecar import SidecarError, StateItem
from tests.simulation.applied import Applied
from tests.simulation.check import check
from tests.simulation.clocks import START, OffsetClock
from tests.simulation.history import Attempt, Call, History, Kind, Spec, record
from tests.simulation.loop import Stalled, VirtualLoop, run
from tests.simulation.search import Event, in_some_order
from tests.simulation.stores import RedisLike, SimStore, make_store

V1, V2, V3 = (Version(bytes([number]) * 16) for number in (1, 2, 3))
NAME = record("a")


# The loop


def test_time_passes_only_when_nothing_is_ready_and_then_at_once() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        await asyncio.gather(asyncio.sleep(3600), asyncio.sleep(1800))
        return [loop.time()]

    began = time.monotonic()
    assert run(main()) == [3600]
    assert time.monotonic() - began < 1


def test_a_run_in_which_everybody_waits_for_nothing_ends() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Stalled):
        run(main())


def test_what_a_callback_raises_ends_the_run() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        await asyncio.sleep(1)

    with pytest.raises(ZeroDivisionError):
        run(main())


# The stores


Make = Callable[[str], SimStore]


@pytest.fixture
def make() -> Iterator[Make]:
    loop = VirtualLoop()
    yield lambda kind: make_store(kind, OffsetClock(loop, 0.0), random.Random(1), applied=Applied())
    loop.close()


def _item(
    key: str, etag: str | None, value: bytes = b"x", *, ttl: int | None = None, create: bool = False
) -> StateItem:
    return StateItem(
        key=key, value=value, etag=None if etag is None else StoreEtag(etag), ttl_seconds=ttl, create_only=create
    )


def test_redis_counts_from_one_again_and_creates_for_any_etag(make: Make) -> None:
    store = make("state.redis")
    store.save(_item("a", "-1"))
    store.save(_item("a", "1"))
    del store.items["a"]
    store.save(_item("a", "2"))
    assert store.items["a"].etag == "1"


def test_redis_undoes_nothing_and_names_the_keys_that_were_refused(make: Make) -> None:
    store = make("state.redis")
    store.save(_item("a", "-1"))
    with pytest.raises(SidecarError, match=r"INTERNAL: .*failed to set key sim\|\|a "):
        store.transact([_item("a", "-1"), _item("b", "-1", b"applied")])
    assert store.items["b"].data == b"applied"


def test_a_refused_write_in_a_redis_transaction_clears_the_expiry_all_the_same(make: Make) -> None:
    store = make("state.redis")
    store.put_raw("a", b"raw", Instant(START + 1000))
    with pytest.raises(SidecarError):
        store.save(_item("a", "-1", ttl=-1))
    assert store.items["a"].gone_at is not None
    with pytest.raises(SidecarError):
        store.transact([_item("a", "-1", ttl=-1)])
    assert store.items["a"].gone_at is None


@pytest.mark.parametrize(
    ("item", "said"),
    [(_item("a", None, create=True), "FIRST_WRITE"), (_item("a", "-1", ttl=1), "positive ttl")],
)
def test_what_must_never_be_sent_to_redis_is_noticed(make: Make, item: StateItem, said: str) -> None:
    store = make("state.redis")
    store.save(item)
    assert said in store.applied.violations[0]


def test_redis_expires_what_is_the_services_own_and_stands_there_by_then(make: Make) -> None:
    store = make("state.redis")
    key = internal_key("outcome/00")
    store.save(_item(key, "-1", ttl=60))
    assert isinstance(store, RedisLike)
    assert store.items[key].gone_at is None
    store.expire(key, 60)
    assert store.items[key].gone_at == START + 60_000
    assert not store.applied.violations


def test_redis_deletes_what_is_not_there_and_refuses_another_etag(make: Make) -> None:
    store = make("state.redis")
    store.delete("a", StoreEtag("1"))
    store.save(_item("a", "-1"))
    with pytest.raises(SidecarError, match=r"ABORTED: .*possible etag mismatch.*failed to delete"):
        store.delete("a", StoreEtag("2"))
    store.delete("a", StoreEtag("1"))
    assert not store.items


def test_of_several_deletes_redis_refuses_one_and_the_others_refuse_all(make: Make) -> None:
    for kind, left in (("state.redis", {"a"}), ("state.sqlite", {"a", "b"})):
        store = make(kind)
        for key in ("a", "b"):
            store.put_raw(key, b"value", None)
        with pytest.raises(SidecarError, match="INTERNAL"):
            store.delete_all({"a": StoreEtag("0123"), "b": store.items["b"].etag})
        assert store.items.keys() == left
        store.delete_all({key: item.etag for key, item in store.items.items()})
        assert not store.items


@pytest.mark.parametrize("kind", ["state.postgresql", "state.sqlite", "state.in-memory"])
def test_the_others_refuse_to_delete_what_is_not_there(make: Make, kind: str) -> None:
    store = make(kind)
    with pytest.raises(SidecarError, match=r"ABORTED: .*possible etag mismatch"):
        store.delete("a", StoreEtag("0123"))
    store.save(_item("a", None, create=True))
    store.delete("a", store.items["a"].etag)
    assert not store.items


@pytest.mark.parametrize("kind", ["state.postgresql", "state.sqlite", "state.in-memory"])
def test_the_others_roll_roll_back_and_create_for_no_etag(make: Make, kind: str) -> None:
    store = make(kind)
    store.save(_item("a", None, create=True))
    with pytest.raises(SidecarError, match="INTERNAL"):
        store.transact([_item("b", None, create=True), _item("a", None, create=True)])
    with pytest.raises(SidecarError, match=r"ABORTED"):
        store.save(_item("b", "0123"))
    assert list(store.items) == ["a"]


# The search


def _event(begin: float, end: float, before: int, after: int) -> Event[int]:
    def step(state: int, low: float) -> Sequence[int]:
        return [after] if state == before else []

    return Event(begin=begin, end=end, must=end < 99, reads=before == after, step=step)


def test_an_order_is_found_if_there_is_one() -> None:
    assert in_some_order([_event(0, 5, 1, 2), _event(1, 2, 0, 1), _event(1, 9, 1, 1)], 0, budget=100)[0] is True
    assert in_some_order([_event(0, 1, 1, 2), _event(2, 3, 0, 1)], 0, budget=100)[0] is False


def test_what_need_not_have_happened_may_explain_the_rest() -> None:
    assert in_some_order([_event(0, 99, 0, 1), _event(5, 6, 1, 1)], 0, budget=100)[0] is True
    assert in_some_order([_event(5, 6, 1, 1), _event(7, 99, 0, 1)], 0, budget=100)[0] is False


def test_a_search_that_takes_too_long_decides_nothing() -> None:
    assert in_some_order([_event(0, 9, 0, 0)] * 5, 0, budget=2)[0] is None


# The checker


def _history(*asked: tuple[Spec, float, float, Result]) -> History:
    calls = []
    for number, (spec, start, end, result) in enumerate(asked):
        expiry = None if spec.ttl is None else Instant(START + int(start * 1000) + spec.ttl)
        attempt = Attempt(start=start, end=end, instance=0, results=[result], expiries=[expiry])
        calls.append(Call(number=number, client=1, specs=[spec], request=number + 1, attempts=[attempt]))
    return History(calls=calls)


def _put(value: bytes, **more: object) -> Spec:
    return Spec(name=NAME, kind=Kind.PUT, value=value, **more)  # type: ignore[arg-type]


GET, DELETE, TOUCH = (Spec(name=NAME, kind=kind) for kind in (Kind.GET, Kind.DELETE, Kind.TOUCH))


def _found(value: bytes, version: Version, expires: int | None = None) -> Found:
    expiry = None if expires is None else Instant(START + expires)
    return Found(
        record=Record(
            value=value, content_type="", version=version, create_time=None, update_time=None, expire_time=expiry
        )
    )


W1, W2, W3 = (Written(version=version) for version in (V1, V2, V3))


@pytest.mark.parametrize(
    "asked",
    [
        [(_put(b"v1"), 0, 1, W1), (GET, 2, 3, _found(b"v1", V1)), (DELETE, 4, 5, Deleted(existed=True))],
        [(_put(b"v1"), 0, 5, W1), (GET, 1, 2, RecordMissing(NAME)), (GET, 3, 4, _found(b"v1", V1))],
        [(_put(b"v1"), 0, 1, W1), (_put(b"v2", precondition=ABSENT), 2, 3, RecordExists(NAME, etag_of(V1)))],
        [(_put(b"v1", ttl=5000), 0, 1, W1), (GET, 4, 4.1, RecordMissing(NAME)), (GET, 6, 6.1, _found(b"v1", V1, 5000))],
    ],
)
def test_what_can_have_happened_passes(asked: list[tuple[Spec, float, float, Result]]) -> None:
    assert check(_history(*asked), clock_difference=5) == []


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ([(_put(b"v1"), 0, 1, W1), (GET, 2, 3, RecordMissing(NAME))], "no order"),
        ([(_put(b"v1"), 0, 1, W1), (_put(b"v2"), 2, 3, W2), (GET, 4, 5, _found(b"v1", V1))], "no order"),
        ([(_put(b"v1"), 0, 1, W1), (_put(b"v2"), 2, 3, W1)], "two writes have one etag"),
        ([(_put(b"v1"), 0, 1, W1), (GET, 2, 3, _found(b"v1", V2))], "one write has two etags"),
        ([(GET, 0, 1, _found(b"v1", V1))], "nobody wrote"),
        (
            [
                (_put(b"v1"), 0, 1, W1),
                (_put(b"v2", precondition=V1), 2, 9, W2),
                (_put(b"v3", precondition=V1), 2, 9, W3),
            ],
            "no order",
        ),
        ([(_put(b"v1"), 0, 1, W1), (_put(b"v2", precondition=V1), 2, 3, RecordChanged(NAME))], "no order"),
        (
            [
                (_put(b"v1"), 0, 1, W1),
                (DELETE, 2, 3, Deleted(existed=True)),
                (_put(b"v2", precondition=V1), 4, 5, W2),
            ],
            "no order",
        ),
        ([(_put(b"v1", ttl=5000), 0, 1, W1), (GET, 8, 9, _found(b"v1", V1, 5000))], "no order"),
        ([(_put(b"v1", ttl=5000), 0, 1, W1), (GET, 1.5, 2, RecordMissing(NAME))], "no order"),
        ([(_put(b"v1"), 0, 1, W1), (TOUCH, 2, 3, Touched(version=V2, expire_at=None))], "no order"),
        ([(_put(b"v1"), 0, 1, RecordExists(NAME))], "was answered"),
    ],
)
def test_what_cannot_have_happened_is_found(asked: list[tuple[Spec, float, float, Result]], said: str) -> None:
    assert said in " ".join(check(_history(*asked), clock_difference=5))


# The checker and updates: each value is explained by the updates before it


def _incremented(value: bytes, version: Version, *, repeated: bool = False) -> Updated:
    return Updated(record=_found(value, version).record, repeated=repeated)


ADD = Spec(name=NAME, kind=Kind.INCREMENT, change=Increment(delta=2))
AT_MOST = Spec(name=NAME, kind=Kind.INCREMENT, change=Increment(delta=2, maximum=3))
MISFIT = UpdateNotApplicable(NAME, etag_of(V1))


@pytest.mark.parametrize(
    "asked",
    [
        [(ADD, 0, 1, _incremented(b"2", V1)), (GET, 2, 3, _found(b"2", V1)), (ADD, 4, 5, _incremented(b"4", V2))],
        [(ADD, 0, 9, _incremented(b"4", V2)), (ADD, 0, 9, _incremented(b"2", V1)), (GET, 1, 8, _found(b"4", V2))],
        [(ADD, 0, 1, _incremented(b"2", V1)), (AT_MOST, 2, 3, MISFIT)],
        [(_put(b"v1"), 0, 1, W1), (ADD, 2, 3, MISFIT)],
    ],
)
def test_updates_that_can_have_happened_pass(asked: list[tuple[Spec, float, float, Result]]) -> None:
    assert check(_history(*asked), clock_difference=5) == []


@pytest.mark.parametrize(
    "asked",
    [
        [(ADD, 0, 1, _incremented(b"4", V1))],
        [(ADD, 0, 1, _incremented(b"2", V1)), (ADD, 2, 3, _incremented(b"2", V2))],
        [(ADD, 0, 1, _incremented(b"2", V1)), (GET, 2, 3, _found(b"4", V2))],
        [(ADD, 0, 1, _incremented(b"2", V1)), (GET, 2, 3, _found(b"2", V2))],
        [(ADD, 0, 1, MISFIT)],
        [(ADD, 0, 1, _incremented(b"2", V1)), (ADD, 2, 3, MISFIT)],
    ],
)
def test_updates_that_cannot_have_happened_are_found(asked: list[tuple[Spec, float, float, Result]]) -> None:
    assert "no order" in " ".join(check(_history(*asked), clock_difference=5))


def test_a_repeated_update_shows_the_record_as_it_is_then() -> None:
    for value, version, passes in ((b"4", V2, True), (b"2", V1, False)):
        history = _history((ADD, 0, 1, _incremented(b"2", V1)), (ADD, 2, 3, _incremented(b"4", V2)))
        repeat = Attempt(start=4, end=5, instance=0, repeated=True)
        repeat.results = [_incremented(value, version, repeated=True)]
        history.calls[0].attempts.append(repeat)
        assert (check(history, clock_difference=5) == []) is passes


# The checker and snapshots: all is read at one moment


B = record("b", "other")


@pytest.mark.parametrize(
    ("of_a", "of_b", "passes"),
    [
        (_found(b"v1", V1), RecordMissing(B), True),
        (_found(b"v1", V1), _found(b"v2", V2), True),
        (RecordMissing(NAME), _found(b"v2", V2), False),
    ],
)
def test_a_snapshot_shows_records_of_several_stores_at_one_moment(of_a: Result, of_b: Result, passes: bool) -> None:
    history = _history((_put(b"v1"), 0, 5, W1))
    history.calls.append(_call([Spec(name=B, kind=Kind.PUT, value=b"v2")], 6, 9, [W2]))
    history.calls.append(_call([Spec(name=each, kind=Kind.SNAPSHOT) for each in (NAME, B)], 4, 8, [of_a, of_b]))
    assert (check(history, clock_difference=5) == []) is passes


def test_a_snapshot_that_failed_says_nothing() -> None:
    history = _history((_put(b"v1"), 0, 1, W1))
    failed = [StoreUnavailable("other")] * 2
    history.calls.append(_call([Spec(name=each, kind=Kind.SNAPSHOT) for each in (NAME, B)], 2, 3, failed))
    assert check(history, clock_difference=5) == []


def _call(specs: Sequence[Spec], start: float, end: float, results: Sequence[Result]) -> Call:
    attempt = Attempt(start=start, end=end, instance=0, results=results, expiries=[None] * len(specs))
    return Call(number=len(specs) + 10, client=1, specs=specs, attempts=[attempt])
