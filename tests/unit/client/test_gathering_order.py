"""Whatever is called at the same time, whatever answers when: each caller gets its own answer, in order per record."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keepstate import _gathering as gathering
from keepstate._gathered import DELETE, GET, PUT, UPDATE, Kind
from keepstate._gathering import Gathering
from keepstate.v1 import record_pb2
from keepstate.v1 import state_service_pb2 as pb
from tests.unit.client.fake_service import FakeService, Refused

KINDS: dict[str, Kind[Any, Any]] = {kind.name: kind for kind in (GET, PUT, UPDATE, DELETE)}


@dataclass(kw_only=True)
class Network:
    """Performs a call when it is told to, in any order."""

    service: FakeService = field(default_factory=FakeService)
    under_way: list[asyncio.Event] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    async def transmit(self, method: Any, message: Any, seconds: float, metadata: Any, *, writes: bool) -> Any:
        turn = asyncio.Event()
        self.under_way.append(turn)
        self.sizes.append(len(message.operations) if isinstance(message, pb.BatchRequest) else 1)
        await turn.wait()
        names = {pb.BatchRequest: "batch", pb.GetRequest: "get", pb.PutRequest: "put", pb.UpdateRequest: "update"}
        return getattr(self.service, names.get(type(message), "delete"))(message)


@dataclass(kw_only=True)
class Model:
    """What each caller must be answered, if all goes in the order of the calls."""

    values: dict[str, int] = field(default_factory=dict)

    def answer(self, kind: str, key: str, number: int) -> Any:
        before = self.values.get(key)
        match kind:
            case "put":
                self.values[key] = number
            case "update":
                self.values[key] = (before or 0) + number
            case "delete":
                self.values.pop(key, None)
                return before is not None
        return self.values.get(key) if kind != "put" else None


def message(kind: str, key: str, number: int) -> Any:
    name = record_pb2.RecordName(key=key)
    match kind:
        case "get":
            return pb.GetRequest(name=name)
        case "put":
            return pb.PutRequest(name=name, value=str(number).encode())
        case "update":
            return pb.UpdateRequest(name=name, increment=pb.Increment(delta=number))
        case _:
            return pb.DeleteRequest(name=name)


def told(kind: str, answer: Any) -> Any:
    """What the answer says, as the model has it."""
    match kind:
        case "put":
            return None
        case "delete":
            return answer.existed
        case _:
            return int(answer.record.value)


async def perform(gathers: Gathering, kind: str, key: str, number: int) -> Any:
    try:
        return told(kind, await gathers.send(KINDS[kind], message(kind, key, number), 60, ()))
    except Refused:  # by itself: nothing makes an error of it here
        return None
    except Exception as error:
        if getattr(error, "reason", "") != "RECORD_NOT_FOUND":
            raise
        return None


async def rounds() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


CALLS = st.tuples(
    st.just("call"), st.sampled_from(sorted(KINDS)), st.sampled_from("abc"), st.integers(1, 9), st.booleans()
)
STEPS = st.lists(st.one_of(CALLS, CALLS, st.tuples(st.just("answer"), st.integers(0, 5))), max_size=60)


@pytest.mark.parametrize("most", [2, 128])
@given(steps=STEPS, cancelled=st.sets(st.integers(0, 60), max_size=3))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_caller_gets_the_answer_that_the_order_of_the_calls_gives(
    steps: list[Any], cancelled: set[int], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "MAX_OPERATIONS", most)
    monkeypatch.setattr(gathering, "HOLD_SECONDS", 0.0)
    asyncio.run(_story(steps, cancelled))


async def _story(steps: list[Any], cancelled: set[int]) -> None:
    network, model = Network(), Model()
    gathers = Gathering(network.transmit)
    callers: list[asyncio.Task[Any]] = []
    expected: list[Any] = []
    of_key: dict[str, list[int]] = defaultdict(list)
    for step in steps:
        if step[0] == "answer":
            if network.under_way:
                network.under_way.pop(step[1] % len(network.under_way)).set()
            await rounds()
            continue
        _, kind, key, number, at_once = step
        callers.append(asyncio.create_task(perform(gathers, kind, key, number)))
        expected.append(model.answer(kind, key, number))
        of_key[key].append(len(callers) - 1)
        if not at_once:
            await rounds()
    gone = {index for index in cancelled if index < len(callers)}
    await rounds()
    for index in gone:
        callers[index].cancel()
    while not all(caller.done() for caller in callers):
        for turn in network.under_way:
            turn.set()
        network.under_way.clear()
        await asyncio.sleep(0)
    assert network.sizes == [] or max(network.sizes) <= gathering.MAX_OPERATIONS
    assert sum(network.sizes) <= len(callers)  # nothing was sent twice
    for indices in of_key.values():
        # A write whose caller goes may be applied or not, before or after what came later.
        sure = next((at for at, index in enumerate(indices) if index in gone), len(indices))
        assert [callers[index].result() for index in indices[:sure]] == [expected[index] for index in indices[:sure]]
        for index in indices[sure:]:
            assert callers[index].cancelled() or callers[index].exception() is None
