"""Python's program over a client with a mistake in it, to see that the suite finds it. The mistake is its argument.

A mistake replaces a part of the client by a private name, so a change of the client may have to be followed here.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keepstate import (
    _batch_call,
    _clock,
    _connection,
    _messages,
    _metadata,
    _repeats,
    _status,
    _tries,
    errors,
)
from keepstate.v1 import record_pb2
from keepstate.v1 import state_service_pb2 as pb
from tests.conformance import python_program


def replace(owner: object, name: str, part: object) -> None:
    """Put another part into a module or a class.

    Raises:
        AttributeError: there is no such part.
    """
    getattr(owner, name)
    setattr(owner, name, part)


def attempts_are_not_counted() -> None:
    replace(_connection.Connection, "renew", lambda connection, part, failure: None)


def each_attempt_is_a_new_request() -> None:
    def renew(connection: _connection.Connection, part: _repeats.Part, failure: errors.KeepstateError) -> None:
        if part.request is not None:
            sent = part.request.first_sent
            part.request.CopyFrom(connection.next_request())
            part.request.first_sent.CopyFrom(sent)

    replace(_connection.Connection, "renew", renew)


def what_was_not_sent_is_repeated_as_it_was() -> None:
    def renew(connection: _connection.Connection, part: _repeats.Part, failure: errors.KeepstateError) -> None:
        if part.request is not None:
            part.request.attempt += 1

    replace(_connection.Connection, "renew", renew)


def the_local_clock_serves() -> None:
    replace(_connection.Connection, "_now", lambda connection: time.time_ns())


def the_first_time_told_counts() -> None:
    replace(_clock.ServiceClock, "_is_better", staticmethod(lambda sample, best: False))


def the_last_time_told_counts() -> None:
    replace(_clock.ServiceClock, "_is_better", staticmethod(lambda sample, best: True))


def nobody_asks_for_the_time() -> None:
    async def learn(connection: _connection.Connection, seconds: float) -> None: ...

    replace(_connection.Connection, "_learn_time", learn)


def what_is_final_is_repeated() -> None:
    wise = _repeats.may_be_repeated
    replace(
        _repeats,
        "may_be_repeated",
        lambda error: wise(error) or isinstance(error, errors.AlreadyExists | errors.Conflict),
    )


def what_is_unknown_for_good_is_repeated() -> None:
    wise = _repeats.may_be_repeated
    replace(_repeats, "may_be_repeated", lambda error: wise(error) or isinstance(error, errors.OutcomeUnknown))


def nobody_waits_as_long_as_asked() -> None:
    replace(_repeats, "_retry_after", lambda error: None)


def doubts_are_forgotten() -> None:
    replace(_repeats.Part, "failed", lambda part, error: error)


def doubts_are_never_resolved() -> None:
    replace(_repeats, "_is_final", lambda error: False)


def a_lost_answer_is_an_outage() -> None:
    replace(_status, "_MAY_HIDE_SUCCESS", frozenset())


def an_attempt_takes_all_of_the_time() -> None:
    replace(_repeats, "_SHARE", 1.0)


def etags_are_not_demanded() -> None:
    wise = _messages._precondition

    def precondition(absent: bool, exists: bool, etag: str | None) -> record_pb2.Precondition | None:
        return wise(absent, exists, None)

    replace(_messages, "_precondition", precondition)


def numbers_are_doubles() -> None:
    wise = python_program._TAKEN
    numbers = {field: (field, lambda text: int(float(text))) for field in ("delta", "initial", "minimum", "maximum")}
    replace(python_program, "_TAKEN", {**wise, **numbers})


def values_are_text() -> None:
    replace(
        python_program,
        "value_of",
        lambda text, wise=python_program.value_of: wise(text).decode(errors="replace").encode(),
    )


def an_empty_value_is_no_record() -> None:
    wise = python_program.answer_of_record
    replace(python_program, "answer_of_record", lambda record: wise(record) if record and record.value else None)


def what_a_proxy_does_not_find_is_missing() -> None:
    def is_missing(error: errors.KeepstateError) -> bool:
        return isinstance(error, errors.NotFound)

    replace(_messages, "is_missing", is_missing)


def a_batch_is_repeated_as_a_whole() -> None:
    wise = _batch_call._to_be_repeated

    def to_be_repeated(items: Sequence[Any]) -> list[Any]:
        if not wise(items):
            return []
        for item in items:
            item.failure = item.failure or errors.Unavailable("of another")
        return list(items)

    replace(_batch_call, "_to_be_repeated", to_be_repeated)


def later_operations_are_overtaken() -> None:
    replace(_batch_call._Item, "record", property(lambda item: (str(id(item)), "")))


def what_was_read_is_not_checked() -> None:
    wise = _tries.Try.end

    def end(attempt: _tries.Try) -> pb.TransactRequest:
        request = wise(attempt)
        del request.checks[:]
        return request

    replace(_tries.Try, "end", end)


def the_function_runs_once() -> None:
    replace(_tries.Try, "is_overtaken", lambda attempt, error: False)


def records_are_read_again() -> None:
    async def read(attempt: _tries.Try, request: pb.GetRequest) -> record_pb2.Record | None:
        return await attempt._get(request)

    replace(_tries.Try, "read", read)


def a_transaction_is_never_over() -> None:
    replace(_tries.Try, "_must_run", lambda attempt: None)


def the_token_stays_at_home() -> None:
    async def of_attempt(metadata: _metadata.CallMetadata, seconds: float) -> tuple[tuple[str, str | bytes], ...]:
        return tuple(each for each in metadata._own if each[0] != "authorization")

    replace(_metadata.CallMetadata, "of_attempt", of_attempt)


def tokens_go_everywhere() -> None:
    replace(_connection, "is_loopback", lambda address: True)


MISTAKES: Mapping[Callable[[], None], tuple[str, ...]] = {
    attempts_are_not_counted: (
        "A put whose answer is lost is repeated as the same request with the attempt counted",
        "A batch whose answer is lost is sent again with each request's attempt counted",
        "A connection that breaks in the middle of a write is made anew, and the write repeated",
    ),
    each_attempt_is_a_new_request: (
        "An increment whose answer is lost is applied once and says that it was repeated",
        "A repeat does not undo what others wrote since",
        "A transaction whose answer is lost is repeated as one request and applied once",
    ),
    what_was_not_sent_is_repeated_as_it_was: ("What nobody was sent becomes a new request",),
    the_local_clock_serves: (
        "A write says the time of a service that is an hour ahead",
        "A write says the time of a service that is an hour behind",
    ),
    the_first_time_told_counts: ("A service whose clock is set back in the middle is followed",),
    the_last_time_told_counts: ("A slow answer does not replace what a quick one told",),
    nobody_asks_for_the_time: ("A write says the time of a service that is an hour ahead",),
    what_is_final_is_repeated: ("No other failure is repeated",),
    what_is_unknown_for_good_is_repeated: ("An outcome that is unknown for good is not asked for again",),
    nobody_waits_as_long_as_asked: ("What the service asks to wait is waited, and not much more",),
    doubts_are_forgotten: ("A write in doubt whose repeat fails is an unknown outcome",),
    doubts_are_never_resolved: ("A write in doubt that the service judges is what the service says",),
    a_lost_answer_is_an_outage: ("Without repeating a lost answer is an unknown outcome",),
    an_attempt_takes_all_of_the_time: ("An attempt has two thirds of the time, where a second is left for another",),
    etags_are_not_demanded: ("An etag never matches a later life", "Of many writers with one etag one wins"),
    numbers_are_doubles: ("Numbers beyond the 53 bits of a double stay exact",),
    values_are_text: ("Bytes that are no UTF-8 come back as they were",),
    an_empty_value_is_no_record: ("A value of zero bytes exists",),
    what_a_proxy_does_not_find_is_missing: ("What a proxy did not find is no missing record",),
    a_batch_is_repeated_as_a_whole: ("Of a batch only what failed for now is sent again, each with its own request",),
    later_operations_are_overtaken: ("What would overtake a later operation on its record is not sent again",),
    what_was_read_is_not_checked: ("What was only read becomes a check, of its etag or of its absence",),
    the_function_runs_once: ("A transaction's function runs again where a writer came between",),
    records_are_read_again: ("A record is read once, and the same however often it is read",),
    a_transaction_is_never_over: ("A transaction that is over takes no reads and no writes",),
    the_token_stays_at_home: ("A token goes with every call",),
    tokens_go_everywhere: ("Without TLS a token is refused off loopback",),
}
"""Each mistake, and laws that it breaks."""


if __name__ == "__main__":
    next(mistake for mistake in MISTAKES if mistake.__name__ == sys.argv[1])()
    asyncio.run(python_program.main())
