"""What the checker's search has to bring into an order: every write that took effect, and every answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from keepstate_server.domain.errors import PreconditionFailed, RecordMissing
from keepstate_server.domain.names import RecordName
from keepstate_server.domain.operations import Found
from keepstate_server.engine.draft import Result
from tests.simulation.history import Claim, Kind
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
        yield _event(part, begin, end, [(place, step)], reads=False, answer=answer)
    for attempt, result, claim in part.answers:
        if attempt.end is None or result is None:
            continue
        if isinstance(result, Found) and spec.kind is Kind.GET:
            shows = shown(facts, result)
            yield _event(part, attempt.start, attempt.end, [(place, shows)], reads=True, answer=result)
        elif claim is Claim.NO:
            since = begin if attempt.repeated else attempt.start
            says = _says_no(part, result, since, attempt.end, facts)
            yield _event(part, since, attempt.end, [(place, says)], reads=True, answer=result)


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
    begin = first.call.attempts[0].start
    if not first.once:
        for attempt in first.call.attempts:
            # Each attempt is a reading of its own.
            alone = replace(first.call, attempts=[replace(attempt, repeated=False)])
            if attempt.end is not None and len(first.call.attempts) > 1:
                yield from _of_transaction(names, [replace(part, call=alone) for part in parts], facts)
        if len(first.call.attempts) > 1:
            return
    if span := _span(first, facts):
        end, answer = span
        answers: Sequence[Result | None] = [None] * len(parts)
        if answer is not None:
            answers = next(each.results or () for each in first.call.attempts if each.end == end)
        steps = [
            (names.index(part.spec.name), written(facts, part.spec, part.number, begin, end, its))
            for part, its in zip(parts, answers, strict=True)
        ]
        reads = all(part.spec.kind is Kind.CHECK for part in parts)
        if not reads or answer is not None:
            yield _event(first, begin, end, steps, reads=reads, answer=answer)
    for attempt, result, claim in first.answers:
        if claim is Claim.NO and attempt.end is not None:
            assert isinstance(result, PreconditionFailed)
            part = next(each for each in parts if each.spec.name == result.name)
            since = begin if attempt.repeated else attempt.start
            says = _says_no(part, result, since, attempt.end, facts)
            yield _event(part, since, attempt.end, [(names.index(part.spec.name), says)], reads=True, answer=result)


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


def _says_no(part: Part, result: Result, begin: float, end: float, facts: Facts) -> KeyStep:
    if isinstance(result, PreconditionFailed) and part.spec.precondition is not None:
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
    answer: Result | Sequence[Result] | None,
) -> Placed:
    def what() -> str:
        return f"{begin:.4f} to {end:.4f} {part} {answer!r}"

    return Event(begin=begin, end=end, must=end < math.inf, reads=reads, step=_joined(steps), what=what), part


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
