"""What the service makes of what it sees of a store: native, staged or refused."""

from __future__ import annotations

import asyncio
import gc
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from keepstate_server.domain.errors import DeadlineExceeded, Overloaded, StoreUnavailable
from keepstate_server.domain.promises import Keeping
from keepstate_server.stores import kind_probes, slow_checks
from keepstate_server.stores.base import CompareAndSet, Failure, Fate, Isolation, Lack, StateStore, StoreEtag
from keepstate_server.stores.catalog import Catalog
from keepstate_server.stores.judgement import Verdict
from keepstate_server.stores.sidecar import Component
from tests.unit.server.stores.plain_store import Defect, PlainSidecar

D = Defect

REDIS = frozenset(
    {
        D.COUNTS_ETAGS,
        D.CREATES_FOR_MINUS_ONE,
        D.CREATES_FOR_ANY_ETAG,
        D.FIRST_WRITE_OVERWRITES,
        D.NEVER_ROLLS_BACK,
        D.SHOWS_NO_EXPIRY,
        D.KEEPS_EARLIER_TTL,
        D.EXPIRES_WHAT_IT_REFUSED_TO_WRITE,
    }
)
"""With these a plain store does as Redis is known to do."""


def component(name: str = "store", type_: str = "state.sqlite", version: str = "v1") -> Component:
    return Component(name=name, type=type_, version=version, capabilities=frozenset())


class Bench:
    """A catalog beside one store, which all components lead to."""

    def __init__(self, *defects: Defect, type_: str = "state.sqlite", probe: bool = True) -> None:
        self.sidecar = PlainSidecar(defects=frozenset(defects), known=[component(type_=type_)])
        self.catalog = Catalog(self.sidecar, default_store=None, probe=probe)

    async def store(self, name: str = "store") -> StateStore:
        return await self.catalog.find(name, timeout=1)

    async def ready(self) -> tuple[StateStore, Failure | Lack | None]:
        store = await self.store()
        return store, await store.prepare(timeout=5)

    async def keeping(self, number: int) -> Keeping:
        return (await self.catalog.info("store", timeout=5)).promises[number - 1].keeping


def write(key: str, etag: StoreEtag | None = None) -> CompareAndSet:
    return CompareAndSet(key=key, etag=etag, data=b"data", keep_for=timedelta(seconds=900))


async def test_a_store_that_is_as_it_is_known_is_used_so_and_nothing_is_said() -> None:
    with capture_logs() as logs:
        store, answer = await Bench().ready()
    assert (answer, store.lack, store.isolation) == (None, None, Isolation.ROLLBACK)
    assert logs == []


async def test_transactions_are_native_where_a_rollback_was_seen_and_else_staged() -> None:
    assert await Bench().keeping(9) is Keeping.NATIVE
    assert await Bench(D.NEVER_ROLLS_BACK).keeping(9) is Keeping.STAGED
    assert await Bench(D.HAS_NO_TRANSACTIONS).keeping(9) is Keeping.STAGED
    assert await Bench(D.DESTROYS_IN_TRANSACTIONS).keeping(9) is Keeping.STAGED


@pytest.mark.parametrize("defect", [D.NEVER_ROLLS_BACK, D.HAS_NO_TRANSACTIONS])
async def test_where_nothing_rolls_back_several_writes_go_as_saves(defect: Defect) -> None:
    bench = Bench(defect)
    store, answer = await bench.ready()
    assert (answer, store.isolation) == (None, Isolation.NONE)
    bench.sidecar.calls.clear()
    outcomes = await store.write([write("a"), write("b")], timeout=1)
    assert ({each.fate for each in outcomes}, bench.sidecar.calls) == ({Fate.APPLIED}, ["save"])


async def test_a_record_is_created_in_the_way_that_was_seen_to_create_alone() -> None:
    bench = Bench(D.CREATES_FOR_MINUS_ONE, D.FIRST_WRITE_OVERWRITES)
    store, answer = await bench.ready()
    assert answer is None
    assert [each.fate for each in await store.write([write("a")], timeout=1)] == [Fate.APPLIED]
    assert [each.fate for each in await store.write([write("a")], timeout=1)] == [Fate.REFUSED]


@pytest.mark.parametrize(("defects", "foretold"), [(REDIS, "1"), (REDIS - {D.COUNTS_ETAGS}, None)])
async def test_the_next_etag_is_foretold_only_where_it_was_seen_to_be_counted(
    defects: frozenset[Defect], foretold: str | None
) -> None:
    store, answer = await Bench(*defects, type_="state.redis").ready()
    assert answer is None
    [outcome] = await store.write([write("a")], timeout=1)
    assert (outcome.fate, outcome.next_etag) == (Fate.APPLIED, foretold)


async def test_a_redis_that_is_as_it_is_known_is_used_so_and_nothing_is_said() -> None:
    with capture_logs() as logs:
        store, answer = await Bench(*REDIS, type_="state.redis").ready()
    assert (answer, store.isolation, logs) == (None, Isolation.STEP, [])


@pytest.mark.parametrize(
    ("defect", "capability"),
    [
        (D.SAVES_ANY_ETAG, "compare-and-set"),
        (D.REFUSES_ANY_ETAG, "compare-and-set"),
        (D.KEEPS_ETAG, "compare-and-set"),
        (D.HAS_NO_ETAGS, "compare-and-set"),
        (D.DELETES_ANY_ETAG, "compare-and-delete"),
        (D.FIRST_WRITE_OVERWRITES, "create-only"),
        (D.CREATES_FOR_ANY_ETAG, "old etag, no key"),
        (D.COUNTS_ETAGS, "etag reuse"),
        (D.CUTS_AT_NUL, "bytes"),
        (D.FORGETS_IN_BULK, "bulk read"),
    ],
)
async def test_a_store_that_lacks_what_writes_need_is_only_read(defect: Defect, capability: str) -> None:
    bench = Bench(defect)
    with capture_logs() as logs:
        store, answer = await bench.ready()
    assert isinstance(answer, Lack)
    assert (answer.capability, store.lack) == (capability, answer)
    assert await bench.keeping(4) is Keeping.REFUSED
    assert await bench.keeping(1) is Keeping.STAGED
    assert bench.catalog.names == []
    told = [log for log in logs if log["check"] == capability]
    assert [(log["log_level"], log["verdict"]) for log in told] == [("warning", "missing")]
    assert told[0]["expected"] != told[0]["seen"]


async def test_a_ttl_of_the_components_own_that_reads_show_lets_it_be_only_read() -> None:
    _, answer = await Bench(D.HAS_A_TTL_OF_ITS_OWN).ready()
    assert isinstance(answer, Lack)
    assert answer.capability == "component's ttl"


async def test_a_kind_is_looked_at_once_and_each_components_settings_by_themselves() -> None:
    bench = Bench()
    bench.sidecar.known = [component("a"), component("b"), component("c", "state.in-memory")]
    calls = []
    for name in ("a", "a", "b", "c"):
        bench.sidecar.calls.clear()
        assert await (await bench.store(name)).prepare(timeout=5) is None
        calls.append(len(bench.sidecar.calls))
    assert calls[0] == calls[3] > 50
    assert calls[1:3] == [0, 2]


async def test_a_difference_is_said_once() -> None:
    bench = Bench(D.NEVER_ROLLS_BACK)
    bench.sidecar.known = [component("a"), component("b")]
    with capture_logs() as logs:
        for name in ("a", "b", "a"):
            await (await bench.store(name)).prepare(timeout=5)
    assert [(log["check"], log["expected"], log["seen"]) for log in logs] == [("rollback", "yes", "no")]


async def test_stores_that_are_waited_for_together_are_looked_at_once() -> None:
    bench = Bench()
    store = await bench.store()
    assert await asyncio.gather(*(store.prepare(timeout=5) for _ in range(5))) == [None] * 5
    once = len(bench.sidecar.calls)
    other = Bench()
    await other.ready()
    assert once <= len(other.sidecar.calls) + 2 * 4


async def test_a_look_goes_on_when_the_first_who_waits_for_it_has_no_more_time() -> None:
    bench = Bench()
    store = await bench.store()
    assert isinstance(await store.prepare(timeout=0), Failure)
    assert await store.prepare(timeout=5) is None


async def test_an_outage_is_no_lack_and_is_looked_into_again() -> None:
    bench = Bench()
    bench.sidecar.away_after = 20
    store, answer = await bench.ready()
    assert isinstance(answer, Failure)
    assert store.lack is None
    bench.sidecar.away_after = None
    assert await store.prepare(timeout=5) is None


async def test_one_call_that_fails_for_a_moments_reason_is_never_a_lack() -> None:
    sound = Bench()
    await sound.ready()
    failures = 0
    for number in range(1, len(sound.sidecar.calls) + 1):
        bench = Bench()
        bench.sidecar.busy_at = number
        store, answer = await bench.ready()
        assert not isinstance(answer, Lack), number
        failures += isinstance(answer, Failure)
        assert await store.prepare(timeout=5) is None
        assert store.isolation is Isolation.ROLLBACK, number
    assert failures


async def test_a_component_that_is_away_keeps_no_other_of_its_kind_from_being_written() -> None:
    bench = Bench()
    bench.sidecar.known = [component("away"), component("near")]
    bench.sidecar.away = "away"
    waiting = asyncio.ensure_future((await bench.store("away")).prepare(timeout=5))
    await asyncio.sleep(0)
    assert await (await bench.store("near")).prepare(timeout=1) is None
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await bench.catalog.close()


async def test_a_store_that_takes_half_a_second_a_call_is_written_and_one_that_hangs_is_soon_asked_again() -> None:
    bench = Bench()
    await bench.ready()
    assert len(bench.sidecar.calls) * 0.5 < kind_probes._PROBE_SECONDS
    assert bench.sidecar.longest_timeout <= 10


async def test_components_of_one_kind_are_looked_at_once_at_the_start() -> None:
    bench = Bench()
    bench.sidecar.known = [component("a"), component("b"), component("c", "state.in-memory")]
    await bench.catalog.refresh(timeout=1)
    await bench.catalog.look_at_all()
    both = len(bench.sidecar.calls)
    one = Bench()
    await one.ready()
    assert both == 2 * len(one.sidecar.calls) + 2
    await bench.catalog.look_at_all()
    assert len(bench.sidecar.calls) == both, "what is known is not looked at again"


async def test_a_look_that_fails_after_everybody_has_gone_is_nobodys_fault() -> None:
    """Else the event loop says of each, with the sidecar's words, that nobody took its exception."""
    bench = Bench()
    bench.sidecar.away_after = 20
    said: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    assert isinstance(await (await bench.store()).prepare(timeout=0), Failure)
    while not bench.sidecar.items:
        await asyncio.sleep(0)
    while bench.sidecar.items:
        await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    gc.collect()
    asyncio.get_running_loop().set_exception_handler(None)  # the loop is other tests', too
    assert said == []


async def test_what_was_missing_is_looked_at_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store in trouble may have looked worse than it is."""
    bench = Bench(D.REFUSES_ANY_ETAG)
    store, answer = await bench.ready()
    assert isinstance(answer, Lack)
    bench.sidecar.defects = frozenset()
    assert isinstance(await store.prepare(timeout=5), Lack)
    monkeypatch.setattr(kind_probes, "_LOOK_AGAIN_AFTER", -1.0)
    assert await store.prepare(timeout=5) is None
    assert store.lack is None


async def test_without_a_probe_a_store_is_taken_for_what_is_known_of_it_but_for_encryption() -> None:
    bench = Bench(D.NEVER_ROLLS_BACK, probe=False)
    store, answer = await bench.ready()
    assert (answer, store.isolation, bench.sidecar.calls) == (None, Isolation.ROLLBACK, ["transact", "get"])
    store, answer = await Bench(D.DESTROYS_IN_TRANSACTIONS, probe=False).ready()
    assert (answer, store.isolation) == (None, Isolation.NONE)


async def test_a_catalog_that_is_closed_ends_its_looks_and_leaves_nothing() -> None:
    bench = Bench()
    bench.sidecar.hang_at = 30
    looking = asyncio.ensure_future((await bench.store()).prepare(timeout=5))
    await bench.sidecar.hanging.wait()
    await bench.catalog.close()
    assert bench.sidecar.items == {}
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)


# What a caller has probed


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    found = Bench()
    monkeypatch.setattr(slow_checks, "_sleep", found.sidecar.pass_)
    return found


async def test_a_probe_tells_of_each_check_what_was_seen_and_what_was_expected(bench: Bench) -> None:
    report = await bench.catalog.probe("store", timeout=30)
    assert report.info.component.name == "store"
    assert len(report.findings) == 22
    for each in report.findings:
        expected = each.observation.seen if each.verdict is Verdict.KEPT else ""
        assert each.expected in (expected, "")
    assert {each.verdict for each in report.findings} == {Verdict.KEPT, Verdict.NOT_SEEN}
    assert [each.observation.check for each in report.findings if each.verdict is Verdict.NOT_SEEN] == ["eviction"]


async def test_what_a_probe_sees_counts_from_then_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    store, _ = await bench.ready()
    bench.sidecar.defects = frozenset({D.EXPIRES_WHAT_IT_REFUSED_TO_WRITE})
    report = await bench.catalog.probe("store", timeout=30)
    (missing,) = [each for each in report.findings if each.verdict is Verdict.MISSING]
    assert (missing.observation.check, missing.observation.seen, missing.expected) == ("atomic expiry", "no", "yes")
    assert store.lack is not None
    assert store.lack.capability == "atomic expiry"
    assert report.info.promises[3].keeping is Keeping.REFUSED
    monkeypatch.setattr(kind_probes, "_LOOK_AGAIN_AFTER", -1.0)
    assert await store.prepare(timeout=5) == store.lack, "a quick look would not see it"
    bench.sidecar.defects = frozenset()
    await bench.catalog.probe("store", timeout=30)
    assert await store.prepare(timeout=5) is None


async def test_what_the_service_makes_up_for_is_told_with_how(bench: Bench) -> None:
    bench.sidecar.defects = frozenset({D.NEVER_ROLLS_BACK})
    report = await bench.catalog.probe("store", timeout=30)
    (mended,) = [each for each in report.findings if each.verdict is Verdict.MENDED]
    assert (mended.observation.check, mended.consequence) == ("rollback", "transactions in stages")


async def test_what_a_probe_misses_once_alone_is_not_believed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only a probe sees would stand until the next one."""
    store, _ = await bench.ready()
    waits = 0

    async def expire_what_was_refused_at_first(seconds: float) -> None:
        nonlocal waits
        waits += 1
        await bench.sidecar.pass_(seconds)
        bench.sidecar.defects = frozenset()

    bench.sidecar.defects = frozenset({D.EXPIRES_WHAT_IT_REFUSED_TO_WRITE})
    monkeypatch.setattr(slow_checks, "_sleep", expire_what_was_refused_at_first)
    report = await bench.catalog.probe("store", timeout=30)
    assert waits > 0
    assert Verdict.MISSING not in {each.verdict for each in report.findings}
    assert store.lack is None


async def test_what_limits_some_writes_alone_lets_the_others_be(bench: Bench) -> None:
    bench.sidecar.defects = frozenset({D.TAKES_4_MIB})
    report = await bench.catalog.probe("store", timeout=30)
    (missing,) = [each for each in report.findings if each.verdict is Verdict.MISSING]
    assert (missing.observation.check, "--max-body-size" in missing.consequence) == ("largest value", True)
    assert (await bench.store()).lack is None


async def test_a_component_that_is_not_known_can_be_probed_and_is_not_written_after_that(bench: Bench) -> None:
    bench.sidecar.known = [component(type_="state.mongodb")]
    report = await bench.catalog.probe("store", timeout=30)
    assert [each.observation.check for each in report.findings if each.verdict is Verdict.MISSING] == [
        "known component"
    ]
    assert (await bench.store()).lack is not None
    assert bench.sidecar.items == {}


async def test_a_store_is_probed_once_at_a_time(bench: Bench) -> None:
    bench.sidecar.hang_at = 30
    first = asyncio.ensure_future(bench.catalog.probe("store", timeout=30))
    await bench.sidecar.hanging.wait()
    with pytest.raises(Overloaded):
        await bench.catalog.probe("store", timeout=30)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert bench.sidecar.items == {}
    await bench.catalog.probe("store", timeout=30)


async def test_a_probe_of_a_store_that_is_away_is_unavailable_and_of_too_little_time_late(bench: Bench) -> None:
    bench.sidecar.away_after = 0
    with pytest.raises(StoreUnavailable):
        await bench.catalog.probe("store", timeout=30)
    with pytest.raises(DeadlineExceeded):
        await bench.catalog.probe("store", timeout=0)
