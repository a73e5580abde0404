"""What a queue refuses when it is made, how it looks for what is free, and what it makes of refusals."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstate import Client, TransactionConflict, UpdateNotApplicable, recipes
from keepstate.recipes.queue import _portions
from keepstate.v1 import state_service_pb2 as pb
from tests.unit.client.fake_service import FakeService, refusal


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"limit": 0}, "limit must be from 1 to 10000, not 0"),
        ({"limit": 10_001}, "limit must be from 1 to 10000, not 10001"),
        ({"lease": timedelta()}, "lease must be positive, not 0:00:00"),
        ({"name": ""}, "is empty"),
    ],
)
def test_what_cannot_be_a_queue_is_refused_when_it_is_made(arguments: dict[str, Any], complaint: str) -> None:
    for kind in (recipes.Queue, recipes.Outbox):
        with pytest.raises(ValueError, match=complaint):
            kind(Client(), **({"name": "jobs"} | arguments))


@given(st.integers(min_value=0, max_value=10_000))
def test_leases_are_looked_at_in_order_a_few_at_first_and_never_more_than_fit_a_batch(count: int) -> None:
    ids = [str(number) for number in range(count)]
    portions = list(_portions(ids))
    assert [each for portion in portions for each in portion] == ids
    assert all(1 <= len(portion) <= 256 for portion in portions)
    assert not portions or len(portions[0]) <= 4


async def test_who_is_overtaken_until_time_is_up_is_not_told_that_another_has_the_item(
    state: Client[Any], service: FakeService, pauses: list[float]
) -> None:
    jobs: recipes.Queue[str] = recipes.Queue(state, "jobs")
    await jobs.put("a")
    taken = await jobs.take()
    assert taken is not None
    service.script.extend([refusal(grpc.StatusCode.ABORTED, "TRANSACTION_CONFLICT")] * 1000)
    with pytest.raises(TransactionConflict):
        await jobs.done(taken)
    assert sum(pauses) > 5
    service.script.clear()
    assert await jobs.done(taken) is True


async def test_a_queue_whose_order_cannot_be_changed_is_not_called_full(
    state: Client[Any], service: FakeService
) -> None:
    metadata = {"key": "queue:jobs"}
    service.script.append(refusal(grpc.StatusCode.FAILED_PRECONDITION, "UPDATE_NOT_APPLICABLE", metadata=metadata))
    with pytest.raises(UpdateNotApplicable) as refused:
        await recipes.Queue[str](state, "jobs").put("a")
    assert refused.value.name is not None
    assert refused.value.name.key == "queue:jobs"


async def test_who_is_so_slow_that_another_has_done_the_item_takes_the_next(
    state: Client[Any], service: FakeService
) -> None:
    jobs: recipes.Queue[str] = recipes.Queue(state, "jobs")
    first, _ = [await jobs.put(item) for item in "ab"]

    async def nothing_happens(request: Any, context: Any) -> None:
        pass

    async def another_is_done(request: Any, context: Any) -> None:
        assert service.names[-4:] == ["Get", "Batch", "Put", "Get"]
        assert request.name.key == f"queue:jobs:item:{first}"
        service.delete(pb.DeleteRequest(name=request.name))

    service.script.extend([*[nothing_happens] * 3, another_is_done])
    taken = await jobs.take()
    assert taken is not None
    assert taken.item == "b"
