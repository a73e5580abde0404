"""Calls that failed are sent again: which, when, as which request, and what is told in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import grpc
import pytest

import keepstate._connection
import keepstate._repeats
from keepstate import (
    AlreadyExists,
    Client,
    Conflict,
    DeadlineExceeded,
    Delete,
    Internal,
    OutcomeUnknown,
    PermissionDenied,
    Put,
    ResourceExhausted,
    Retry,
    Unavailable,
)
from keepstate._repeats import Attempts
from tests.unit.client.fake_service import FakeService, Refused, refusal
from tests.unit.client.refusals import BUSY, DOWN, UNKNOWN, UNTOUCHED

CODE = grpc.StatusCode

LATE = refusal(CODE.DEADLINE_EXCEEDED)
"""What gRPC makes of an attempt whose time ran out."""


def attempts(service: FakeService) -> list[tuple[int, int]]:
    """The number and the attempt of each request that arrived."""
    return [(request.request.number, request.request.attempt) for _, request in service.calls]


async def test_reads_are_repeated_while_the_service_is_unavailable(
    state: Client[Any], service: FakeService, pauses: list[float]
) -> None:
    await state.put("a", 1)
    service.script.extend([DOWN] * 3)
    assert await state.get("a") == 1
    assert len(pauses) == 3
    service.script.append(DOWN)
    assert [store.name for store in await state.stores()] == ["memory", "redis"]
    service.script.append(DOWN)
    assert await state.get_many(["a"]) == {"a": 1}


async def test_the_pauses_double_and_are_jittered(
    state: Client[Any], service: FakeService, pauses: list[float]
) -> None:
    service.script.extend([refusal(CODE.UNAVAILABLE)] * 8)
    await state.get("a")
    for attempt, pause in enumerate(pauses):
        assert 0 <= pause <= min(1.0, 0.05 * 2**attempt)
    assert len(set(pauses)) == len(pauses) == 8


async def test_a_pause_is_never_shorter_than_the_service_asks(
    state: Client[Any], service: FakeService, pauses: list[float]
) -> None:
    service.script.append(refusal(CODE.UNAVAILABLE, "STORE_UNAVAILABLE", retry_after=timedelta(seconds=2)))
    await state.get("a")
    assert 2 <= pauses[0] <= 2.05


async def test_no_pause_outlasts_the_deadline(state: Client[Any], service: FakeService, pauses: list[float]) -> None:
    service.script.append(refusal(CODE.UNAVAILABLE, "STORE_UNAVAILABLE", retry_after=timedelta(seconds=11)))
    with pytest.raises(Unavailable) as caught:
        await state.get("a")
    assert caught.value.retry_after == timedelta(seconds=11)
    assert pauses == []


async def test_repeats_can_be_had_otherwise_or_not_at_all(
    address: str, service: FakeService, pauses: list[float]
) -> None:
    async with Client(address, retry=Retry(initial=timedelta(seconds=3), limit=timedelta(seconds=4))) as patient:
        service.script.extend([DOWN] * 2)
        await patient.get("a")
    assert 0 <= pauses[0] <= 3
    assert 0 <= pauses[1] <= 4
    async with Client(address, retry=None) as hasty:
        service.script.append(DOWN)
        with pytest.raises(Unavailable):
            await hasty.get("a")
    assert len(pauses) == 2


async def test_a_full_service_is_asked_again_when_it_says(
    state: Client[Any], service: FakeService, pauses: list[float]
) -> None:
    service.script.extend([BUSY] * 2)
    assert await state.get("a") is None
    assert all(0.1 <= pause <= 0.2 for pause in pauses)
    service.script.append(refusal(CODE.RESOURCE_EXHAUSTED, message="SERVER: Sent message larger than max (9 vs. 8)"))
    with pytest.raises(ResourceExhausted):
        await state.get("a")
    assert len(pauses) == 2


WRITES: dict[str, Callable[[Client[Any]], Awaitable[object]]] = {
    "put": lambda state: state.put("a", 1, if_absent=True),
    "delete": lambda state: state.delete("b"),
    "touch": lambda state: state.touch("b", ttl=timedelta(hours=1)),
    "transact": lambda state: state.transact(puts=[Put("a", 1, if_absent=True)], deletes=[Delete("b", if_exists=True)]),
}


@pytest.mark.parametrize("write", WRITES)
async def test_a_write_whose_answer_was_lost_is_repeated_and_applied_once(
    state: Client[Any], service: FakeService, pauses: list[float], write: str
) -> None:
    await state.put("b", 1)
    service.calls.clear()
    service.lose_replies(2)
    await WRITES[write](state)  # applied twice, it would be refused, or find nothing
    assert attempts(service) == [(2, 0), (2, 1), (2, 2)]
    first, *others = (request.request for _, request in service.calls)
    assert all((each.client, each.first_sent) == (first.client, first.first_sent) for each in others)


FOR_NOW = {"down": DOWN, "unknown": UNKNOWN, "busy": BUSY, "late": LATE, "broken": refusal(CODE.UNAVAILABLE)}


@pytest.mark.parametrize("failure", FOR_NOW)
async def test_a_failure_for_now_is_repeated_as_the_same_request(
    state: Client[Any], service: FakeService, pauses: list[float], failure: str
) -> None:
    service.script.append(FOR_NOW[failure])
    await state.put("a", 1)
    assert attempts(service) == [(1, 0), (1, 1)]


async def test_where_nothing_was_sent_a_new_request_begins(
    state: Client[Any], service: FakeService, pauses: list[float]
) -> None:
    async def refuse(request: Any, context: Any) -> None:
        service.clock = lambda: 1_900_000_000.0  # tells a new time too
        raise Refused(UNTOUCHED)

    service.script.append(refuse)
    await state.put("a", 1)
    assert attempts(service) == [(1, 0), (2, 0)]
    old, new = (request.request for _, request in service.calls)
    assert old.client == new.client
    assert old.first_sent.seconds < 1_899_999_999 <= new.first_sent.seconds


async def test_a_request_of_which_an_attempt_is_in_doubt_stays_the_same(
    state: Client[Any], service: FakeService, pauses: list[float]
) -> None:
    service.lose_replies()
    service.script.append(UNTOUCHED)
    await state.put("a", 1, if_absent=True)
    assert attempts(service) == [(1, 0), (1, 1), (1, 2)]


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (CODE.ABORTED, "ETAG_MISMATCH", Conflict),
        (CODE.ALREADY_EXISTS, "RECORD_ALREADY_EXISTS", AlreadyExists),
        (CODE.INTERNAL, "INTERNAL", Internal),
        (CODE.PERMISSION_DENIED, "PERMISSION_DENIED", PermissionDenied),
    ],
)
async def test_other_failures_are_final(
    state: Client[Any],
    service: FakeService,
    pauses: list[float],
    code: grpc.StatusCode,
    reason: str,
    kind: type[Exception],
) -> None:
    service.script.append(refusal(code, reason))
    with pytest.raises(kind):
        await state.put("a", 1)
    assert (len(service.calls), pauses) == (1, [])


async def test_a_refusal_of_a_repeat_is_the_answer_to_the_write(
    state: Client[Any], service: FakeService, pauses: list[float]
) -> None:
    service.script.extend([UNKNOWN, refusal(CODE.ABORTED, "ETAG_MISMATCH")])
    with pytest.raises(Conflict):
        await state.put("a", 1, if_etag="e")


@pytest.mark.parametrize(
    ("code", "reason"),
    [(CODE.PERMISSION_DENIED, "PERMISSION_DENIED"), (CODE.ABORTED, ""), (CODE.ABORTED, "OF_A_LATER_VERSION")],
)
async def test_what_does_not_judge_the_write_leaves_a_lost_answer_unknown(
    state: Client[Any], service: FakeService, pauses: list[float], code: grpc.StatusCode, reason: str
) -> None:
    service.lose_replies()
    service.script.append(refusal(code, reason))
    with pytest.raises(
        OutcomeUnknown, match="an attempt may have been applied, and the last one failed: refused"
    ) as it:
        await state.put("a", 1)
    assert type(it.value.__cause__) in (PermissionDenied, Conflict)


@pytest.mark.parametrize("lost", [0, 1])
async def test_an_outage_that_lasts_is_unavailable_unless_an_answer_was_lost(
    state: Client[Any], service: FakeService, pauses: list[float], lost: int
) -> None:
    service.lose_replies(lost)
    service.script.extend([DOWN] * 200)
    with pytest.raises(OutcomeUnknown if lost else Unavailable):
        await state.put("a", 1)
    assert 8 < sum(pauses) < 10
    assert len(service.calls) == len(pauses) + 1


async def test_nothing_is_repeated_without_retry(address: str, service: FakeService) -> None:
    async with Client(address, retry=None) as hasty:
        service.lose_replies()
        with pytest.raises(OutcomeUnknown, match="Socket closed") as caught:
            await hasty.put("a", 1)
        assert caught.value.code is CODE.UNAVAILABLE
        service.script.append(DOWN)
        with pytest.raises(Unavailable):
            await hasty.batch([Put("a", 1)])


# How a call's time is divided.


def test_an_attempt_leaves_time_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(keepstate._repeats, "_now", lambda: now)
    call = Attempts(Retry(), 9.0)
    given = []
    while call.left > 0:
        given.append(call.seconds)
        now += call.seconds
    assert given == pytest.approx([6, 2, 1])
    assert Attempts(Retry(), 2.0).seconds == pytest.approx(2)  # less than a second would be left
    assert Attempts(None, 9.0).seconds == pytest.approx(9)


def test_the_pause_after_many_failures_is_drawn_once_on_top_of_the_longest_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draws = iter([0.02])
    monkeypatch.setattr("random.uniform", lambda least, most: next(draws))
    asked = [Unavailable("", code=CODE.UNAVAILABLE, retry_after=timedelta(seconds=each)) for each in (1, 2, 0)]
    pause = Attempts(Retry(), 9.0).pause_after([*asked, Unavailable("", code=CODE.UNAVAILABLE)])
    assert pause == pytest.approx(2.02)


async def test_an_attempt_that_hangs_does_not_take_all_of_the_time(
    state: Client[Any], service: FakeService, hanging: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keepstate._repeats, "_LEAST", 0.01)
    await state.put("a", 1, timeout=timedelta(milliseconds=600))
    assert attempts(service) == [(1, 0), (1, 1)]
    assert hanging.is_set()


async def test_reads_too_are_sent_again_when_an_attempts_time_is_up(
    state: Client[Any], service: FakeService, pauses: list[float]
) -> None:
    service.script.append(LATE)
    assert await state.get("a", default="none") == "none"
    service.script.append(LATE)
    with pytest.raises(DeadlineExceeded):
        await state.get("a", timeout=timedelta(milliseconds=900))  # too little for another attempt


async def test_a_write_that_the_service_had_no_time_for_was_not_applied(
    state: Client[Any], service: FakeService, pauses: list[float]
) -> None:
    """Not made an unknown outcome by one more attempt that has hardly any time."""
    service.script.append(refusal(CODE.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"))
    with pytest.raises(DeadlineExceeded):
        await state.put("a", 1, timeout=timedelta(milliseconds=900))
    assert attempts(service) == [(1, 0)]


async def test_closing_ends_the_repeats(address: str, service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    state = Client(address)

    async def close(seconds: float) -> None:
        await state.close()

    monkeypatch.setattr(keepstate._connection, "_sleep", close)
    service.lose_replies()
    with pytest.raises(OutcomeUnknown):
        await state.put("a", 1)
    assert len(service.calls) == 1


async def test_what_is_unknown_for_good_is_not_asked_again(state: Client[Any], service: FakeService) -> None:
    service.script.append(refusal(CODE.UNKNOWN, "OUTCOME_UNKNOWN", metadata={"for_good": "true"}))
    with pytest.raises(OutcomeUnknown) as caught:
        await state.put("a", 1)
    assert caught.value.for_good
    assert len(attempts(service)) == 1
