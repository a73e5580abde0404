"""Holds a history to the contract."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from keepstate_server.domain.errors import (
    PreconditionFailed,
    RecordChanged,
    RecordExists,
    RecordMissing,
    UpdateNotApplicable,
)
from keepstate_server.domain.names import RecordName
from keepstate_server.domain.operations import Found, Updated, Written
from keepstate_server.domain.records import ABSENT, EXISTS
from keepstate_server.domain.times import Instant
from tests.simulation.events import Placed, State, events_of
from tests.simulation.history import Claim, History, Kind
from tests.simulation.model import NOTHING, Facts
from tests.simulation.parts import READS, Part
from tests.simulation.search import Event, in_some_order
from tests.simulation.values import is_text

__all__ = ["Undecided", "check"]

_BUDGET = 200_000


class Undecided(Exception):
    """The search would take too long: nothing is known, and nothing is passed."""


def check(history: History, *, clock_difference: float) -> Sequence[str]:
    """Returns what is wrong; nothing, if nothing is.

    Raises:
        Undecided: nobody can tell.
    """
    parts = [Part(call=call, at=at, number=0) for call in history.calls for at in range(len(call.specs))]
    parts = [replace(part, number=number) for number, part in enumerate(parts)]
    facts = Facts(tolerance=clock_difference / 2 + 0.002, applied=history.applied)
    wrong = [*_take_facts(facts, history, parts)]
    for part in parts:
        wrong.extend(_disagreements(part))
    if wrong:
        return wrong
    for names in _connected(history):
        its = [part for part in parts if part.spec.name in names]
        placed = sorted(events_of(names, its, facts), key=lambda each: each[0].begin)
        found, longest = in_some_order(
            _ordered(placed),
            tuple(facts.starts.get(name, NOTHING) for name in names),
            budget=_BUDGET,
        )
        if found is None:
            raise Undecided
        if not found:
            keys = ", ".join(f"{name.store}/{name.key}" for name in names)
            ending = "".join(f"\n    {what}" for what in longest)
            wrong.append(f"no order explains what was answered of {keys}; as far as it goes:{ending}")
    return wrong


def _take_given(facts: Facts, history: History, parts: Sequence[Part]) -> None:
    for at, raw in enumerate(history.raw):
        number = len(parts) + at
        facts.values[raw.value] = number
        facts.starts[raw.name] = (number, number, raw.value)
        facts.expiries[number] = (raw.expires,) if raw.told else (raw.expires, None)
    for part in parts:
        if part.spec.kind is Kind.PUT and is_text(part.spec.value):
            facts.values[part.spec.value] = part.number
        if part.call.request is not None and (write := part.carried(history.applied)):
            facts.writes[part.number] = write
        if part.spec.ttl is not None:
            facts.expiries[part.number] = tuple(
                Instant(expiry + later)
                for attempt in part.call.attempts
                for expiry in attempt.expiries[part.at : part.at + 1]
                if expiry is not None
                for later in range(attempt.unsure + 1)
            )
        if len(part.call.attempts) > 1:
            facts.repeated.add(part.number)


def _take_facts(facts: Facts, history: History, parts: Sequence[Part]) -> Iterator[str]:
    _take_given(facts, history, parts)
    for part in parts:
        for _, result, claim in part.answers:
            fault = None
            if isinstance(result, Found | Updated) and result.record:
                fault = facts.note_shown(result.record)
            if isinstance(result, Written) and part.spec.kind is Kind.PUT and claim is Claim.YES:
                fault = facts.note(part.number, result.version)
            elif isinstance(result, Updated) and result.record and not result.repeated:
                fault = fault or facts.note(part.number, result.record.version)
            if fault:
                yield f"{part} was answered {result!r}: {fault}"


def _disagreements(part: Part) -> Iterator[str]:
    """A request gets one answer; a refusal fits what was demanded."""
    applied, refused_for_good = False, False
    for attempt, result, claim in part.answers:
        if claim is Claim.BROKEN:
            yield f"{part} was answered {result!r}"
        applied = applied or claim is Claim.YES
        refused_for_good = refused_for_good or (claim is Claim.NO and attempt.repeated)
        if isinstance(result, PreconditionFailed) and not _fits(part, result):
            yield f"{part} was answered {result!r}"
    if applied and refused_for_good and part.once:
        yield f"{part} was applied by one attempt, and a repeat said that it was refused"


def _fits(part: Part, error: PreconditionFailed) -> bool:
    spec = part.spec
    if error.name != spec.name:
        return part.call.transaction
    match error:
        case RecordExists():
            return spec.precondition is ABSENT
        case RecordMissing():
            return spec.precondition is EXISTS or spec.kind in (*READS, Kind.TOUCH)
        case UpdateNotApplicable():
            return spec.change is not None
        case RecordChanged():
            return isinstance(spec.precondition, bytes) or part.call.transaction
        case _:
            return False


def _connected(history: History) -> Sequence[Sequence[RecordName]]:
    """Returns the records, those together that transactions and snapshots connect."""
    groups = {spec.name: {spec.name} for call in history.calls for spec in call.specs}
    for call in history.calls:
        if call.transaction or call.snapshot:
            joined: set[RecordName] = set().union(*(groups[spec.name] for spec in call.specs))
            for name in joined:
                groups[name] = joined
    return sorted(
        {tuple(sorted(names, key=_sorted_by)) for names in groups.values()}, key=lambda each: _sorted_by(each[0])
    )


def _sorted_by(name: RecordName) -> tuple[str, str]:
    return name.store, name.key


def _ordered(placed: Sequence[Placed]) -> Sequence[Event[State]]:
    """Returns the events, those of one call and record in the order that they were asked in."""
    events = []
    asked: dict[tuple[int, RecordName], list[tuple[int, int]]] = {}
    for place, (event, part) in enumerate(placed):
        if event.must:
            asked.setdefault((part.call.number, part.spec.name), []).append((part.at, 1 << place))
    for event, part in placed:
        after = 0
        if not part.call.transaction and len(part.call.attempts) == 1:
            for at, bit in asked.get((part.call.number, part.spec.name), ()):
                if at < part.at:
                    after |= bit
        events.append(replace(event, after=after) if after else event)
    return events
