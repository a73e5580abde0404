"""Limits on calls and bytes: whatever becomes of calls, what is under way is counted, and nothing else."""

from __future__ import annotations

import pytest

from keepstate_server.domain.errors import Overloaded
from keepstate_server.rpc.admission import Admission, Held

LEAST = 4096


def admission(*, most_calls: int = 100, most_bytes: int = 10 * LEAST) -> Admission:
    return Admission(most_calls=most_calls, most_bytes=most_bytes)


def test_what_is_not_held_any_more_does_not_count() -> None:
    limits = admission()
    held = [limits.expected() for _ in range(3)]
    limits.read(held[0], 100)
    held[1].now(5000)
    assert limits.bytes == 100 + 5000 + LEAST
    del held
    assert limits.bytes == 0


def test_requests_are_refused_unread_when_those_under_way_and_one_more_would_be_too_many() -> None:
    limits = admission()
    held = []
    while not limits.refuses_unread():
        held.append(limits.expected())
    assert len(held) == 10
    held.pop()
    assert not limits.refuses_unread()


def test_what_is_expected_follows_what_came() -> None:
    limits = admission()
    for _ in range(100):
        limits.read(limits.expected(), 5 * LEAST)
    first = limits.expected()
    assert limits.bytes == pytest.approx(5 * LEAST, rel=0.01)
    second = limits.expected()
    assert limits.refuses_unread()
    del first, second
    for _ in range(100):
        limits.read(limits.expected(), 1)
    held = limits.expected()
    assert limits.bytes == pytest.approx(LEAST, rel=0.01)
    del held


def test_a_call_alone_is_never_too_large() -> None:
    limits = admission()
    held = limits.expected()
    limits.read(held, 100 * LEAST)
    with limits.admitted(held):
        other = limits.expected()
        limits.read(other, 1)
        with pytest.raises(Overloaded, match="bytes of requests and answers under way"), limits.admitted(other):
            pass
    assert not admission(most_bytes=1).refuses_unread()


def test_too_many_calls_are_refused_and_those_that_ended_do_not_count() -> None:
    limits = admission(most_calls=1)
    with limits.admitted(None), pytest.raises(Overloaded, match="calls under way"), limits.admitted(None):
        pass
    with pytest.raises(ValueError, match="boom"), limits.admitted(Held(limits, 1)):
        raise ValueError("boom")
    with limits.admitted(None):
        pass
    assert limits.bytes == 0


def test_answers_that_are_not_sent_yet_make_it_too_many() -> None:
    limits = admission()
    held = limits.expected()
    held.now(10 * LEAST)
    assert not limits.is_over
    held.now(10 * LEAST + 1)
    assert limits.is_over
