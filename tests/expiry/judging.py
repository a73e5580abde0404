"""Holds what a real service answered to promise 7, record by record, with the simulation's checker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from keepstate_server.domain.names import RecordName
from keepstate_server.domain.operations import Found, Touched, Updated
from keepstate_server.domain.times import Instant
from keepstate_server.engine.draft import Result
from tests.expiry.wire import Era
from tests.simulation.check import check
from tests.simulation.history import Attempt, Call, History, Kind, Spec

__all__ = ["Sent", "faults"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """Operations that were sent together."""

    specs: Sequence[Spec]
    start: float
    """Milliseconds since the epoch."""
    end: float
    """When it was answered, or given up."""
    results: Sequence[Result] | None
    """None: nobody heard any."""


def faults(sent: Iterable[Sent], era: Era) -> Iterator[str]:
    """Yields what is wrong with the answers; nothing, if nothing is. The service's clock must be the clients' own."""
    for name, calls in _by_record(sent, era).items():
        for call in calls:
            yield from _given_otherwise(call)
        for fault in check(History(calls=calls), clock_difference=0.0):
            yield f"{name.key}: {fault}"


def _by_record(sent: Iterable[Sent], era: Era) -> dict[RecordName, list[Call]]:
    """Returns the calls on each record; what a batch asks of one record stays one call, whose order counts."""
    calls: dict[RecordName, list[Call]] = {}
    for each in sent:
        places: dict[RecordName, list[int]] = {}
        for place, spec in enumerate(each.specs):
            places.setdefault(spec.name, []).append(place)
        for name, its in places.items():
            known = calls.setdefault(name, [])
            known.append(_call(len(known), each, its, era))
    return calls


def _call(number: int, sent: Sent, places: Sequence[int], era: Era) -> Call:
    specs = [sent.specs[place] for place in places]
    attempt = Attempt(
        start=era.second(sent.start),
        instance=0,
        end=None if sent.results is None else era.second(sent.end),
        results=None if sent.results is None else [sent.results[place] for place in places],
        # An instance reckons a ttl from the moment on at which the call reached it.
        expiries=[None if spec.ttl is None else era.moment(int(sent.start) + spec.ttl) for spec in specs],
        unsure=int(sent.end) + 1 - int(sent.start),
    )
    return Call(number=number, client=0, specs=specs, attempts=[attempt])


def _given_otherwise(call: Call) -> Iterator[str]:
    """Yields the answers that show another expiry than the one that was asked for."""
    (attempt,) = call.attempts
    for spec, result, least in zip(call.specs, attempt.results or (), attempt.expiries, strict=False):
        shown = _shown(result)
        if spec.kind is Kind.GET or spec.keep or shown is None:
            continue
        (told,) = shown
        fits = told is None if least is None else told is not None and 0 <= told - least <= attempt.unsure
        if not fits:
            yield f"call {call.number} [{spec}] was answered {result!r}, not {least} and {attempt.unsure} ms at most"


def _shown(result: Result) -> tuple[Instant | None] | None:
    """Returns the expiry that an answer shows; None: it shows nothing of it."""
    match result:
        case Found(record=record):
            return (record.expire_time,)
        case Updated(record=record) if record is not None:
            return (record.expire_time,)
        case Touched(expire_at=expiry):
            return (expiry,)
        case _:
            return None
