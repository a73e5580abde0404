"""What several callers read and write at a time goes out together, and stays each one's own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from keepstate_server.domain.records import Consistency
from keepstate_server.engine.gathering import GatheringStore
from keepstate_server.stores.base import (
    Absence,
    CompareAndSet,
    Failure,
    Fate,
    Outcome,
    ReadResult,
    StateStore,
    Stored,
    StoreEtag,
)


@dataclass
class Gated:
    """A store in which each call waits until the test lets it go on."""

    calls: list[tuple[str, ...]] = field(default_factory=list)
    timeouts: list[float] = field(default_factory=list)
    gates: list[asyncio.Future[None]] = field(default_factory=list)
    rejected: str = ""
    """A call that names this key fails as a whole."""
    fate: Fate = Fate.APPLIED
    size: int = 0
    """How large values are at least."""
    held: bool = True
    came: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def _pass(self, keys: Sequence[str], timeout: float) -> bool:
        gate = asyncio.get_running_loop().create_future()
        self.calls.append(tuple(keys))
        self.timeouts.append(timeout)
        self.gates.append(gate)
        async with self.came:
            self.came.notify_all()
        if self.held:
            await gate
        return self.rejected not in keys

    async def read(
        self, keys: Sequence[str], *, consistency: Consistency, sure: bool, timeout: float
    ) -> Mapping[str, ReadResult]:
        if not await self._pass(keys, timeout):
            return dict.fromkeys(keys, Failure(detail="rejected"))
        return {key: Stored(data=key.encode().ljust(self.size), etag=StoreEtag(str(len(self.calls)))) for key in keys}

    async def write(self, writes: Sequence[CompareAndSet], *, timeout: float) -> Sequence[Outcome]:
        if not await self._pass([write.key for write in writes], timeout):
            return [Outcome(fate=Fate.FAILED)] * len(writes)
        return [Outcome(fate=self.fate, next_etag=StoreEtag(f"after {write.key}")) for write in writes]

    async def let_go(self, call: int) -> None:
        """Waits until there were so many calls before this one, and lets it go on."""
        async with asyncio.timeout(5), self.came:
            await self.came.wait_for(lambda: len(self.calls) > call)
        self.gates[call].set_result(None)


@pytest.fixture
def gated() -> Gated:
    return Gated()


@pytest.fixture
def store(gated: Gated) -> GatheringStore:
    return GatheringStore(cast("StateStore", gated))


def _read(store: GatheringStore, *keys: str, timeout: float = 5.0, **more: Any) -> asyncio.Task[Any]:
    asked = {"consistency": Consistency.STRONG, "sure": False, **more}
    return asyncio.create_task(cast("Any", store.read(keys, timeout=timeout, **asked)))


def _write(store: GatheringStore, *keys: str, timeout: float = 5.0, data: bytes = b"v", **more: Any) -> Any:
    writes = [CompareAndSet(key=key, etag=None, data=data, keep_for=None, **more) for key in keys]
    return asyncio.create_task(cast("Any", store.write(writes, timeout=timeout)))


async def _patiently(gated: Gated, calls: int) -> None:
    """Waits for so many calls in all."""
    async with asyncio.timeout(5), gated.came:
        await gated.came.wait_for(lambda: len(gated.calls) >= calls)


async def test_what_is_asked_at_one_time_is_one_call_and_each_gets_its_own(store: GatheringStore, gated: Gated) -> None:
    asked = [_read(store, *keys) for keys in ("a", "b", "ac")]
    await gated.let_go(0)
    found = await asyncio.gather(*asked)
    assert gated.calls == [("a", "b", "c")]
    assert [list(each) for each in found] == [["a"], ["b"], ["a", "c"]]
    assert all(each[key].data == key.encode() for each in found for key in each)


async def test_a_lone_call_goes_at_once(store: GatheringStore, gated: Gated) -> None:
    asked = _read(store, "a")
    for _ in range(4):
        await asyncio.sleep(0)
    assert gated.calls == [("a",)], "no timer was waited for"
    await gated.let_go(0)
    await asked


async def test_what_comes_while_a_call_is_under_way_goes_out_together_after_it(
    store: GatheringStore, gated: Gated
) -> None:
    first = _write(store, "a")
    await _patiently(gated, 1)
    others = [_write(store, key) for key in "bcd"]
    await asyncio.sleep(0)
    gated.gates[0].set_result(None)
    await first
    await gated.let_go(1)
    outcomes = await asyncio.gather(*others)
    assert gated.calls == [("a",), ("b", "c", "d")]
    assert [each[0].next_etag for each in outcomes] == ["after b", "after c", "after d"]


async def test_a_read_that_has_begun_is_not_joined(store: GatheringStore, gated: Gated) -> None:
    early = _read(store, "a")
    await _patiently(gated, 1)
    late = _read(store, "a")
    await gated.let_go(0)
    await early
    assert not late.done()
    await gated.let_go(1)
    assert (await late)["a"].etag == "2"


async def test_nothing_waits_for_a_store_that_hangs(store: GatheringStore, gated: Gated) -> None:
    hanging = [_read(store, "a"), _write(store, "a")]
    await _patiently(gated, 2)
    others = [_read(store, "b"), _write(store, "b")]
    await gated.let_go(2)
    await gated.let_go(3)
    await asyncio.gather(*others)
    for task in hanging:
        task.cancel()


async def test_a_key_is_written_once_in_a_call(store: GatheringStore, gated: Gated) -> None:
    asked = [_write(store, *keys) for keys in ("a", "ab", "c")]
    await gated.let_go(0)
    await gated.let_go(1)
    await asyncio.gather(*asked)
    assert gated.calls == [("a", "c"), ("a", "b")]


@pytest.mark.parametrize(("size", "sizes"), [(1, [128, 12]), (500_000, [2] * 70)])
async def test_a_call_carries_so_many_keys_and_bytes_and_no_more(
    store: GatheringStore, gated: Gated, size: int, sizes: list[int]
) -> None:
    asked = [_write(store, f"k{number}", data=bytes(size)) for number in range(140)]
    for call in range(len(sizes)):
        await gated.let_go(call)
    await asyncio.gather(*asked)
    assert [len(call) for call in gated.calls] == sizes


async def test_fewer_keys_are_read_together_where_values_are_large(store: GatheringStore, gated: Gated) -> None:
    """The sidecar refuses an answer of 16 MiB and more, and has read all of it for nothing."""
    gated.held = False

    async def most(size: int) -> int:
        gated.size, before = size, len(gated.calls)
        await asyncio.gather(*(_read(store, f"k{number}") for number in range(110)))
        return max(map(len, gated.calls[before:]))

    assert [await most(1024) for _ in range(2)] == [110, 110]
    assert [await most(1024 * 1024) for _ in range(2)] == [110, 4], "nobody knew before"
    await asyncio.gather(*(_read(store, "k") for _ in range(110)))
    assert gated.calls[-1] == ("k",), "one key, of whatever size, is read once for all"
    for _ in range(10):
        await most(1024)
    assert await most(1024) == 110


async def test_whoever_brings_many_keys_shares_no_call(store: GatheringStore, gated: Gated) -> None:
    many = [f"k{number}" for number in range(32)]
    asked = [_read(store, "a"), _read(store, *many), _write(store, "a"), _write(store, *many)]
    for call in range(4):
        await gated.let_go(call)
    await asyncio.gather(*asked)
    assert sorted(len(call) for call in gated.calls) == [1, 1, 32, 32]


@pytest.mark.parametrize("more", [{"sure": True}, {"consistency": Consistency.EVENTUAL}])
async def test_reads_of_different_kinds_share_no_call(
    store: GatheringStore, gated: Gated, more: dict[str, Any]
) -> None:
    asked = [_read(store, "a"), _read(store, "b", **more)]
    await gated.let_go(0)
    await gated.let_go(1)
    await asyncio.gather(*asked)
    assert sorted(gated.calls) == [("a",), ("b",)]


async def test_a_call_has_the_longest_time_of_those_in_it(store: GatheringStore, gated: Gated) -> None:
    asked = [_read(store, "a", timeout=1.0), _read(store, "b", timeout=4.0), _read(store, "c", timeout=2.0)]
    await gated.let_go(0)
    await asyncio.gather(*asked)
    assert gated.timeouts == [pytest.approx(4.0, abs=0.5)]


async def test_each_waits_by_its_own_time(store: GatheringStore, gated: Gated) -> None:
    short = [_read(store, "a", timeout=0.02), _write(store, "a", timeout=0.02)]
    long = [_read(store, "b"), _write(store, "b")]
    read, written = await asyncio.gather(*short)
    assert isinstance(read["a"], Failure)
    assert [each.fate for each in written] == [Fate.UNCERTAIN]
    assert not any(task.done() for task in long)
    for gate in gated.gates:
        gate.set_result(None)
    found, (outcome,) = await asyncio.gather(*long)
    assert (list(found), outcome.fate) == (["b"], Fate.APPLIED)


async def test_whose_time_is_up_or_who_has_gone_before_its_call_is_not_sent(
    store: GatheringStore, gated: Gated
) -> None:
    late, gone, other = _write(store, "a", timeout=0.0), _write(store, "b"), _write(store, "c")
    await asyncio.sleep(0)
    gone.cancel()
    await gated.let_go(0)
    (outcome,) = await late
    assert outcome.fate is Fate.FAILED
    await other
    assert gated.calls == [("c",)]


async def test_what_was_kept_waiting_for_too_long_is_not_sent(
    store: GatheringStore, gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, began = asyncio.get_running_loop(), asyncio.get_running_loop().time()
    asked = _write(store, "a", timeout=100.0)
    await asyncio.sleep(0)
    monkeypatch.setattr(loop, "time", lambda: began + 1.5)  # the process was stopped for so long
    (outcome,) = await asked
    assert (outcome.fate, outcome.kept_back, gated.calls) == (Fate.FAILED, True, [])


async def test_what_one_of_them_asks_does_not_fail_the_others(store: GatheringStore, gated: Gated) -> None:
    gated.rejected = "poison"
    reads = [_read(store, key) for key in ("a", "poison", "b")]
    writes = [_write(store, key) for key in ("a", "poison", "b")]
    for call in range(8):
        await gated.let_go(call)
    found = [next(iter((await each).values())) for each in reads]
    assert [isinstance(each, Failure) for each in found] == [False, True, False]
    outcomes = [(await each)[0] for each in writes]
    assert [each.fate for each in outcomes] == [Fate.APPLIED, Fate.FAILED, Fate.APPLIED]


async def test_what_came_to_nothing_is_not_sent_again_for_whom_has_gone_or_whose_time_is_up(
    store: GatheringStore, gated: Gated
) -> None:
    gated.rejected = "poison"
    patient, gone, short = _read(store, "poison"), _read(store, "gone"), _read(store, "short", timeout=0.02)
    await _patiently(gated, 1)
    gone.cancel()
    await short
    await gated.let_go(0)
    await gated.let_go(1)
    await patient
    assert gated.calls == [("poison", "gone", "short"), ("poison",)]


async def test_what_came_to_nothing_too_late_is_told_and_not_sent_again(
    store: GatheringStore, gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write may not arrive later than is allowed for since it was worked out; a read may."""
    gated.rejected = "poison"
    loop, now = asyncio.get_running_loop(), asyncio.get_running_loop().time
    writes, reads = [[ask(store, key, timeout=100.0) for key in ("a", "poison")] for ask in (_write, _read)]
    await _patiently(gated, 2)
    monkeypatch.setattr(loop, "time", lambda: now() + 1.5)
    for call in range(4):
        await gated.let_go(call)
    assert [each[0].fate for each in await asyncio.gather(*writes)] == [Fate.FAILED] * 2
    assert [isinstance(next(iter((await each).values())), Failure) for each in reads] == [False, True]
    assert sorted(gated.calls) == [("a",), ("a", "poison"), ("a", "poison"), ("poison",)]


async def test_a_read_that_was_kept_waiting_is_sent_as_long_as_its_caller_waits(
    store: GatheringStore, gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, now = asyncio.get_running_loop(), asyncio.get_running_loop().time
    asked = _read(store, "a", timeout=100.0)
    await asyncio.sleep(0)
    monkeypatch.setattr(loop, "time", lambda: now() + 1.5)  # the process was stopped for so long
    await gated.let_go(0)
    assert isinstance((await asked)["a"], Stored)


async def test_what_is_to_go_alone_goes_alone(store: GatheringStore, gated: Gated) -> None:
    asked = [_write(store, "a"), _write(store, "b", alone=True), _write(store, "c")]
    await gated.let_go(0)
    await gated.let_go(1)
    await asyncio.gather(*asked)
    assert sorted(gated.calls) == [("a", "c"), ("b",)]


async def test_a_fault_of_ours_is_everybodys(
    store: GatheringStore, gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(gated, "read", broken)
    asked = [_read(store, "a"), _read(store, "b")]
    assert [str(each) for each in await asyncio.gather(*asked, return_exceptions=True)] == ["broken"] * 2


async def test_absence_is_told_as_the_store_tells_it(
    store: GatheringStore, gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(keys: Sequence[str], **_: object) -> Mapping[str, ReadResult]:
        return dict.fromkeys(keys, Absence.LIKELY)

    monkeypatch.setattr(gated, "read", nothing)
    assert await _read(store, "a") == {"a": Absence.LIKELY}
