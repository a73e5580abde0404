"""What the checker's search has to bring into an order: every write that took effect, and every answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from keepstate_server.domain.errors import PreconditionFailed, RecordMissing
from keepstate_server.domain.names import RecordName
from keepstate_server.domain.operations import Found, Updated
from keepstate_server.engine.draft import Result
from tests.simulation.history import Attempt, Claim, Kind
from tests.simulation.model import Facts, KeyState, KeyStep, missing, refused, shown, written
from tests.simulation.parts import Part
from tests.simulation.search import Event

__all__ = ["Placed", "State", "events_of"]

State = tuple[KeyState, ...]

Placed = tuple[Event[State], Part]


def events_of(names: Sequence[RecordName], parts: Sequence[Part], facts: Facts) -> Iterator[Placed]:
    """Yields what ``parts``, all operations on ``names``, say of these records, and the first part of each."""
    for part in parts:
        if not (part.call.transaction or part.call.snapshot):
            yield from _of_part(names, part, facts)
        elif part.at == 0:
            its = [each for each in parts if each.call is part.call]
            yield from (_of_snapshot if part.call.snapshot else _of_transaction)(names, its, facts)


def _of_part(names: Sequence[RecordName], part: Part, facts: Facts) -> Iterator[Placed]:
    """Yields the write, if there was or may have been one, and what each answer said that was none."""
    spec, begin = part.spec, part.call.attempts[0].start
    place = names.index(part.spec.name)
    if spec.kind is Kind.SLIDE:
        yield from _slides(place, part, facts)
    elif spec.kind is not Kind.GET and (span := _span(part, facts)):
        end, answer = span
        step = written(facts, spec, part.number, begin, end, answer)
        likely = part.applied_at(facts.applied, answer)
        yield _event(part, begin, end, [(place, step)], reads=False, answer=answer, likely=likely)
    for attempt, result, claim in part.answers:
        if attempt.end is None or result is None:
            continue
        if isinstance(result, Found) and spec.kind is Kind.GET:
            shows = shown(facts, result)
            yield _event(part, attempt.start, attempt.end, [(place, shows)], reads=True, answer=result)
        elif isinstance(result, Updated) and result.repeated:
            yield _shows_now(place, part, attempt, result, facts)
        elif claim is Claim.NO:
            since = begin if attempt.repeated else attempt.start
            says = _says_no(part, result, since, attempt.end, facts)
            yield _event(part, since, attempt.end, [(place, says)], reads=True, answer=result)


def _shows_now(place: int, part: Part, attempt: Attempt, answer: Updated, facts: Facts) -> Placed:
    """The answer to a repeated update shows the record as it is then."""
    assert attempt.end is not None
    shows = shown(facts, Found(record=answer.record)) if answer.record else missing(facts, attempt.end)
    return _event(part, attempt.start, attempt.end, [(place, shows)], reads=True, answer=answer)


def _slides(place: int, part: Part, facts: Facts) -> Iterator[Placed]:
    """A read that slides carries no request: each attempt is one of its own."""
    for attempt, result, claim in part.answers:
        if claim in (Claim.YES, Claim.UNKNOWN):
            end = attempt.end if claim is Claim.YES and attempt.end is not None else math.inf
            step = written(facts, part.spec, part.number, attempt.start, end, result)
            yield _event(part, attempt.start, end, [(place, step)], reads=False, answer=result)


def _of_snapshot(names: Sequence[RecordName], parts: Sequence[Part], facts: Facts) -> Iterator[Placed]:
    """Each attempt that was answered shows all records at one moment."""
    for attempt in parts[0].call.attempts:
        results = attempt.results or ()
        if attempt.end is None or not all(isinstance(each, Found | RecordMissing) for each in results):
            continue
        steps = [
            (names.index(part.spec.name), _shows(result, attempt.end, facts))
            for part, result in zip(parts, results, strict=True)
        ]
        yield _event(parts[0], attempt.start, attempt.end, steps, reads=True, answer=results)


def _shows(result: Result, end: float, facts: Facts) -> KeyStep:
    return shown(facts, result) if isinstance(result, Found) else missing(facts, end)


def _of_transaction(names: Sequence[RecordName], parts: Sequence[Part], facts: Facts) -> Iterator[Placed]:
    first = parts[0]
    if not first.once and len(first.call.attempts) > 1:
        for attempt in first.call.attempts:
            # Each attempt is a reading of its own.
            alone = replace(first.call, attempts=[replace(attempt, repeated=False)])
            if attempt.end is not None:
                yield from _of_transaction(names, [replace(part, call=alone) for part in parts], facts)
        return
    begin = first.call.attempts[0].start
    if span := _span(first, facts):
        end, answer = span
        if first.once or answer is not None:
            yield _taking_effect(names, parts, begin, end, answer is not None, facts)
    for part in parts:
        place = names.index(part.spec.name)
        for attempt, result, claim in part.answers:
            if isinstance(result, Updated) and result.repeated:
                yield _shows_now(place, part, attempt, result, facts)
            elif claim is Claim.NO and attempt.end is not None and _is_of(result, part):
                since = begin if attempt.repeated else attempt.start
                says = _says_no(part, result, since, attempt.end, facts)
                yield _event(part, since, attempt.end, [(place, says)], reads=True, answer=result)


def _is_of(result: Result | None, part: Part) -> bool:
    """Whether a transaction's refusal, which all its parts are answered, names the record of this one."""
    return isinstance(result, PreconditionFailed) and result.name == part.spec.name


def _taking_effect(
    names: Sequence[RecordName], parts: Sequence[Part], begin: float, end: float, answered: bool, facts: Facts
) -> Placed:
    """Returns the moment at which all of a transaction takes effect."""
    first = parts[0]
    answers: Sequence[Result | None] = [None] * len(parts)
    if answered:
        answers = next(each.results or () for each in first.call.attempts if each.end == end)
    steps = [
        (names.index(part.spec.name), written(facts, part.spec, part.number, begin, end, its))
        for part, its in zip(parts, answers, strict=True)
    ]
    times = (part.applied_at(facts.applied, its) for part, its in zip(parts, answers, strict=True))
    likely = next((each for each in times if each is not None), None)
    return _event(first, begin, end, steps, reads=not first.once, answer=answers, likely=likely)


def _span(part: Part, facts: Facts) -> tuple[float, Result | None] | None:
    """Returns when the write had taken effect, and its answer; None if it certainly never did."""
    yes = [
        (attempt.end, result)
        for attempt, result, claim in part.answers
        if claim is Claim.YES and attempt.end is not None
    ]
    if yes:
        return min(yes, key=lambda each: each[0])
    answers = list(part.answers)
    if any(claim is Claim.NO and attempt.repeated for attempt, _, claim in answers):
        return None
    if not any(claim is Claim.UNKNOWN for _, _, claim in answers):
        return None
    if part.call.request is None:
        return math.inf, None
    landed = part.landed(facts.applied)
    return None if landed is None else (landed, None)


def _says_no(part: Part, result: Result | None, begin: float, end: float, facts: Facts) -> KeyStep:
    if isinstance(result, PreconditionFailed) and (part.spec.precondition is not None or part.spec.change is not None):
        exact = len(part.call.attempts) == 1
        return refused(facts, part.spec, result, begin, end, exact=exact)
    return missing(facts, end)


def _event(
    part: Part,
    begin: float,
    end: float,
    steps: Sequence[tuple[int, KeyStep]],
    *,
    reads: bool,
    answer: Result | Sequence[Result | None] | None,
    likely: float | None = None,
) -> Placed:
    def what() -> str:
        return f"{begin:.4f} to {end:.4f} {part} {answer!r}"

    event = Event(
        begin=begin,
        end=end,
        must=end < math.inf,
        reads=reads,
        step=_joined(steps),
        likely=end if likely is None else likely,
        what=what,
    )
    return event, part


def _joined(steps: Sequence[tuple[int, KeyStep]]) -> Callable[[State, float], Sequence[State]]:
    """Returns the step that takes all of ``steps``, each on its own key, at once."""
    if len(steps) == 1:
        ((place, single),) = steps

        def one(state: State, low: float) -> Sequence[State]:
            before, behind = state[:place], state[place + 1 :]
            return [(*before, each, *behind) for each in single(state[place], low)]

        return one

    def several(state: State, low: float) -> Sequence[State]:
        states = [state]
        for place, step in steps:
            states = [(*each[:place], its, *each[place + 1 :]) for each in states for its in step(each[place], low)]
        return states

    return several
