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
    wise = _messages._fill_precondition

    def fill(request: Any, absent: bool, exists: bool, etag: str | None) -> None:
        wise(request, absent, exists, None)

    replace(_messages, "_fill_precondition", fill)


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


def metadata_stays_at_home() -> None:
    async def of_attempt(metadata: _metadata.CallMetadata, seconds: float) -> tuple[tuple[str, str | bytes], ...]:
        return tuple(each for each in metadata._own if each[0] == "authorization")

    replace(_metadata.CallMetadata, "of_attempt", of_attempt)


def any_metadata_is_taken() -> None:
    replace(_metadata, "_check", lambda name, value: None)


def the_pauses_do_not_grow() -> None:
    replace(_repeats.Retry, "pause", lambda retry, attempt, retry_after=None: 0.025)


def every_time_has_a_zone() -> None:
    wise = _clock.ServiceClock.observe

    def observe(clock: _clock.ServiceClock, stamp: str, sent: _clock.Sending) -> None:
        wise(clock, stamp if stamp.endswith("Z") else f"{stamp}Z", sent)

    replace(_clock.ServiceClock, "observe", observe)


def reasons_are_not_looked_at() -> None:
    replace(_status, "_BY_REASON", {})


def reasons_of_others_count() -> None:
    class Any(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            return True

        def __ne__(self, other: object) -> bool:
            return False

        __hash__ = str.__hash__

    replace(_status, "DOMAIN", Any())


def wrong_fields_are_not_told() -> None:
    replace(_status, "_violations", lambda status: ())


def whatever_was_not_sent_may_have_been() -> None:
    replace(_status, "_NEVER_ARRIVED", ("what gRPC never says",))


def results_are_not_counted() -> None:
    wise = _messages.committed

    def committed(message: pb.TransactResponse, request: pb.TransactRequest) -> Any:
        asked = pb.TransactRequest(
            puts=[pb.PutRequest() for _ in message.puts],
            deletes=[pb.DeleteRequest() for _ in message.deletes],
            updates=[pb.UpdateRequest() for _ in message.updates],
        )
        return wise(message, asked)

    replace(_messages, "committed", committed)


def repeats_are_not_told() -> None:
    wise = _messages.updated

    def updated(message: pb.UpdateResponse) -> Any:
        return wise(pb.UpdateResponse(record=message.record) if message.HasField("record") else pb.UpdateResponse())

    replace(_messages, "updated", updated)


def what_was_found_missing_stays_so() -> None:
    wise = _tries.Try.is_overtaken

    def is_overtaken(attempt: _tries.Try, error: errors.KeepstateError) -> bool:
        return wise(attempt, error) and not isinstance(error, errors.AlreadyExists)

    replace(_tries.Try, "is_overtaken", is_overtaken)


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
    metadata_stays_at_home: ("More metadata goes with every call",),
    any_metadata_is_taken: ("Metadata that cannot be sent, or that is the client's own, is a usage error",),
    the_pauses_do_not_grow: ("The pauses grow",),
    every_time_has_a_zone: ("A time without a zone is passed over",),
    reasons_are_not_looked_at: ("Each reason has its error on a read", "Each reason has its error on a write"),
    reasons_of_others_count: ("What a proxy did not find is no missing record",),
    wrong_fields_are_not_told: ("Every wrong field is named at once",),
    whatever_was_not_sent_may_have_been: (
        "What the service's gRPC library turned away unread was not sent",
        "A request of more than sixteen megabytes is not sent",
        "A write to where nobody listens was not sent, and goes once somebody does",
    ),
    results_are_not_counted: (
        "An answer to a transaction with fewer or more results than it had writes is an unknown outcome",
    ),
    repeats_are_not_told: ("An increment whose answer is lost is applied once and says that it was repeated",),
    what_was_found_missing_stays_so: (
        "A transaction's function runs again where what it only read, or found missing, is another by the end",
    ),
    tokens_go_everywhere: ("Without TLS a token is refused off loopback",),
}
"""Each mistake, and laws that it breaks."""


if __name__ == "__main__":
    next(mistake for mistake in MISTAKES if mistake.__name__ == sys.argv[1])()
    asyncio.run(python_program.main())
