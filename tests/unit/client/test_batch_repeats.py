"""Of a batch what failed for now is sent again, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2

from keepstate import (
    Client,
    Conflict,
    Delete,
    Get,
    OutcomeUnknown,
    Put,
    Unavailable,
)
from keepstate.v1 import state_service_pb2 as pb
from tests.unit.client.fake_service import FakeService, refusal
from tests.unit.client.refusals import DOWN, UNKNOWN, UNTOUCHED

CODE = grpc.StatusCode


def results(*answers: Any) -> pb.BatchResponse:
    """A batch's response; a status is an error, None an answer to a put, another value one to a delete."""
    made = []
    for answer in answers:
        match answer:
            case status_pb2.Status():
                made.append(pb.BatchResult(error=answer))
            case None:
                made.append(pb.BatchResult(put=pb.PutResponse(etag="e")))
            case _:
                made.append(pb.BatchResult(delete=pb.DeleteResponse(existed=answer)))
    return pb.BatchResponse(results=made)


@pytest.fixture
def answer_with(service: FakeService) -> Callable[..., None]:
    """Has the next call, a batch, answered so."""

    def answer_with(*answers: Any) -> None:
        async def answer(request: Any, context: Any) -> Any:
            return results(*answers)

        service.script.append(answer)

    return answer_with


def sent(service: FakeService) -> list[list[tuple[str, int, int]]]:
    """Of each batch the keys of its writes, with their requests' numbers and attempts."""
    batches = []
    for _, batch in service.calls:
        operations = [getattr(each, each.WhichOneof("operation")) for each in batch.operations]
        writes = [each for each in operations if not isinstance(each, pb.GetRequest)]
        batches.append([(each.name.key, each.request.number, each.request.attempt) for each in writes])
    return batches


async def test_of_a_batch_only_what_failed_for_now_is_repeated(
    state: Client[Any], service: FakeService, pauses: list[float], answer_with: Callable[..., None]
) -> None:
    conflict = refusal(CODE.ABORTED, "ETAG_MISMATCH", metadata={"etag": "e9"})
    answer_with(UNKNOWN, None, conflict, UNTOUCHED, True)
    answer_with(DOWN, None)
    answers = await state.batch([Put("a", 1), Put("b", 2), Put("c", 3, if_etag="e"), Put("d", 4), Delete("e")])
    assert answers[1] == "e"
    assert isinstance(answers[2], Conflict)
    assert answers[3:] == ["e", True]
    assert answers[0] == (await state.get_record("a")).etag  # type: ignore[union-attr]
    *batches, _ = service.calls
    service.calls[:] = batches
    assert sent(service) == [
        [("a", 1, 0), ("b", 2, 0), ("c", 3, 0), ("d", 4, 0), ("e", 5, 0)],
        [("a", 1, 1), ("d", 6, 0)],
        [("a", 1, 2)],
    ]


async def test_a_batch_whose_answer_was_lost_is_repeated_and_applied_once(
    state: Client[Any], service: FakeService, pauses: list[float]
) -> None:
    await state.put("gone", 1)
    service.calls.clear()
    service.lose_replies()
    answers = await state.batch([Put("a", 1, if_absent=True), Delete("gone"), Get("a")])
    assert isinstance(answers[0], str)
    assert answers[1] is True
    assert sent(service) == [[("a", 2, 0), ("gone", 3, 0)], [("a", 2, 1), ("gone", 3, 1)]]


async def test_nothing_overtakes_what_came_after_it_on_its_record(
    state: Client[Any], service: FakeService, pauses: list[float], answer_with: Callable[..., None]
) -> None:
    answer_with(DOWN, DOWN, None, DOWN)
    answers = await state.batch([Put("a", 1), Put("b", 1), Put("a", 2), Put("b", 2)])
    assert isinstance(answers[0], Unavailable)
    assert isinstance(answers[2], str)
    assert sent(service)[1] == [("b", 2, 1), ("b", 4, 1)]
    assert await state.get("b") == 2


async def test_what_stays_unanswered_in_a_batch_is_told_of_each_operation(
    state: Client[Any], service: FakeService, pauses: list[float], answer_with: Callable[..., None]
) -> None:
    answer_with(UNKNOWN, DOWN, None, DOWN)
    service.script.extend([DOWN] * 200)
    doubtful, down, done, read = await state.batch([Put("a", 1), Put("b", 1), Put("c", 1), Get("d")])
    assert type(doubtful) is OutcomeUnknown
    assert type(down) is Unavailable
    assert done == "e"
    assert type(read) is Unavailable


async def test_a_read_has_no_unknown_outcome(
    state: Client[Any], service: FakeService, pauses: list[float], answer_with: Callable[..., None]
) -> None:
    answer_with(UNKNOWN, DOWN)
    service.script.extend([refusal(CODE.UNAVAILABLE, message="Socket closed")] * 200)
    write, read = await state.batch([Put("a", 1), Get("b")])
    assert type(write) is OutcomeUnknown
    assert type(read) is Unavailable


async def test_a_batch_that_was_never_answered_fails_as_a_whole(
    state: Client[Any], service: FakeService, pauses: list[float]
) -> None:
    service.lose_replies()
    service.script.extend([DOWN] * 200)
    with pytest.raises(OutcomeUnknown):
        await state.batch([Get("a"), Put("a", 1)])
