"""Holds a history to the contract."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from keepstate_server.domain.errors import PreconditionFailed, RecordChanged, RecordExists, RecordMissing
from keepstate_server.domain.operations import Found, Written
from keepstate_server.domain.records import ABSENT, EXISTS
from keepstate_server.engine.draft import Result
from tests.simulation.history import Attempt, Call, Claim, History, Kind, Spec, claim_of
from tests.simulation.model import Facts, KeyState, KeyStep, missing, refused, shown, written
from tests.simulation.search import Event, in_some_order

__all__ = ["Undecided", "check"]

_BUDGET = 200_000

State = tuple[KeyState, ...]


class Undecided(Exception):
    """The search would take too long: nothing is known, and nothing is passed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """One operation of a call."""

    call: Call
    at: int
    number: int

    @property
    def spec(self) -> Spec:
        return self.call.specs[self.at]

    def landed(self, facts: Facts) -> float | None:
        """Returns when the store applied it, whoever heard of that; None if it never did."""
        call = self.call
        assert call.request is not None
        requests = [(self.spec.key, call.client, call.request + self.at)]
        if call.transaction:
            requests = [(spec.key, call.client, call.request) for spec in call.specs]
        return min((facts.landed[each] for each in requests if each in facts.landed), default=None)

    @property
    def answers(self) -> Iterator[tuple[Attempt, Result | None, Claim]]:
        """What each attempt was answered. A transaction that was performed says yes, whatever it found to delete."""
        for attempt in self.call.attempts:
            result = attempt.results[self.at] if attempt.results is not None else None
            claim = claim_of(result)
            if self.call.transaction and claim is Claim.NO and not isinstance(result, PreconditionFailed):
                claim = Claim.YES
            yield attempt, result, claim

    def __str__(self) -> str:
        return f"call {self.call.number}.{self.at} [{self.spec}]"


_Placed = tuple[Event[State], _Part]


def check(history: History, *, clock_difference: float) -> Sequence[str]:
    """Returns what is wrong; nothing, if nothing is.

    Raises:
        Undecided: nobody can tell.
    """
    parts = [_Part(call=call, at=at, number=0) for call in history.calls for at in range(len(call.specs))]
    parts = [replace(part, number=number) for number, part in enumerate(parts)]
    facts = Facts(tolerance=clock_difference / 2 + 0.002, landed=history.landed)
    wrong = [*_take_facts(facts, history, parts)]
    for part in parts:
        wrong.extend(_disagreements(part))
    if wrong:
        return wrong
    for keys in _connected(history):
        its = [part for part in parts if part.spec.key in keys]
        placed = sorted(_events(keys, its, facts), key=lambda each: each[0].begin)
        found, longest = in_some_order(
            _ordered(placed),
            tuple(facts.start(key) for key in keys),
            budget=_BUDGET,
        )
        if found is None:
            raise Undecided
        if not found:
            ending = "".join(f"\n    {what}" for what in longest)
            wrong.append(f"no order explains what was answered of {', '.join(keys)}; as far as it goes:{ending}")
    return wrong


def _take_given(facts: Facts, history: History, parts: Sequence[_Part]) -> None:
    for at, raw in enumerate(history.raw):
        number = len(parts) + at
        facts.values[raw.value] = facts.starts[raw.key] = number
        # Redis tells no expiry, and its adoption clears it even if the write that follows fails.
        facts.expiries[number] = (raw.expires, None) if history.redis else (raw.expires,)
    for part in parts:
        if part.spec.kind is Kind.PUT:
            facts.values[part.spec.value] = part.number
        if part.spec.ttl is not None:
            facts.expiries[part.number] = tuple(
                attempt.expiries[part.at] for attempt in part.call.attempts if attempt.expiries
            )
        if len(part.call.attempts) > 1:
            facts.repeated.add(part.number)


def _take_facts(facts: Facts, history: History, parts: Sequence[_Part]) -> Iterator[str]:
    _take_given(facts, history, parts)
    for part in parts:
        for _, result, claim in part.answers:
            fault = None
            if isinstance(result, Found):
                maker = facts.values.get(result.record.value)
                fault = "a value that nobody wrote" if maker is None else facts.name(maker, result.record.version)
            elif isinstance(result, Written) and part.spec.kind is Kind.PUT and claim is Claim.YES:
                fault = facts.name(part.number, result.version)
            if fault:
                yield f"{part} was answered {result!r}: {fault}"


def _disagreements(part: _Part) -> Iterator[str]:
    """A request gets one answer; a refusal fits what was demanded."""
    applied, refused_for_good = False, False
    for attempt, result, claim in part.answers:
        if claim is Claim.BROKEN:
            yield f"{part} was answered {result!r}"
        applied = applied or claim is Claim.YES
        refused_for_good = refused_for_good or (claim is Claim.NO and attempt.repeated)
        if isinstance(result, PreconditionFailed) and not _fits(part, result):
            yield f"{part} was answered {result!r}"
    if applied and refused_for_good and _once(part):
        yield f"{part} was applied by one attempt, and a repeat said that it was refused"


def _once(part: _Part) -> bool:
    """Whether the part takes effect at most once, however often its call is sent: reads are another one each time."""
    if part.call.transaction:
        return any(spec.kind is not Kind.CHECK for spec in part.call.specs)
    return part.spec.kind not in (Kind.GET, Kind.SLIDE)


def _fits(part: _Part, error: PreconditionFailed) -> bool:
    spec = part.spec
    if error.name.key != spec.key:
        return part.call.transaction
    match error:
        case RecordExists():
            return spec.precondition is ABSENT
        case RecordMissing():
            return spec.precondition is EXISTS or spec.kind in (Kind.GET, Kind.SLIDE, Kind.TOUCH)
        case RecordChanged():
            return isinstance(spec.precondition, bytes) or part.call.transaction
        case _:
            return False


def _connected(history: History) -> Sequence[Sequence[str]]:
    """Returns the keys, those together that transactions connect."""
    groups = {spec.key: {spec.key} for call in history.calls for spec in call.specs}
    for call in history.calls:
        if call.transaction:
            joined: set[str] = set().union(*(groups[spec.key] for spec in call.specs))
            for key in joined:
                groups[key] = joined
    return sorted({tuple(sorted(keys)) for keys in groups.values()})


def _ordered(placed: Sequence[_Placed]) -> Sequence[Event[State]]:
    """Returns the events, those of one call and key in the order that they were asked in."""
    events = []
    for event, part in placed:
        after = 0
        if not part.call.transaction and len(part.call.attempts) == 1:
            for place, (other, earlier) in enumerate(placed):
                same = earlier.call is part.call and earlier.spec.key == part.spec.key
                if same and earlier.at < part.at and other.must:
                    after |= 1 << place
        events.append(replace(event, after=after) if after else event)
    return events


def _events(keys: Sequence[str], parts: Sequence[_Part], facts: Facts) -> Iterator[_Placed]:
    for part in parts:
        if part.call.transaction:
            if part.at == 0:
                yield from _of_transaction(keys, [each for each in parts if each.call is part.call], facts)
        else:
            yield from _of_part(keys, part, facts)


def _of_part(keys: Sequence[str], part: _Part, facts: Facts) -> Iterator[_Placed]:
    """Yields the write, if there was or may have been one, and what each answer said that was none."""
    spec, begin = part.spec, part.call.attempts[0].start
    place = keys.index(part.spec.key)
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


def _slides(place: int, part: _Part, facts: Facts) -> Iterator[_Placed]:
    """A read that slides carries no request: each attempt is one of its own."""
    for attempt, result, claim in part.answers:
        if claim in (Claim.YES, Claim.UNKNOWN):
            end = attempt.end if claim is Claim.YES and attempt.end is not None else math.inf
            step = written(facts, part.spec, part.number, attempt.start, end, result)
            yield _event(part, attempt.start, end, [(place, step)], reads=False, answer=result)


def _of_transaction(keys: Sequence[str], parts: Sequence[_Part], facts: Facts) -> Iterator[_Placed]:
    first = parts[0]
    begin = first.call.attempts[0].start
    if not _once(first):
        for attempt in first.call.attempts:
            # Each attempt is a reading of its own.
            alone = replace(first.call, attempts=[replace(attempt, repeated=False)])
            if attempt.end is not None and len(first.call.attempts) > 1:
                yield from _of_transaction(keys, [replace(part, call=alone) for part in parts], facts)
        if len(first.call.attempts) > 1:
            return
    if span := _span(first, facts):
        end, answer = span
        answers: Sequence[Result | None] = [None] * len(parts)
        if answer is not None:
            answers = next(each.results or () for each in first.call.attempts if each.end == end)
        steps = [
            (keys.index(part.spec.key), written(facts, part.spec, part.number, begin, end, its))
            for part, its in zip(parts, answers, strict=True)
        ]
        reads = all(part.spec.kind is Kind.CHECK for part in parts)
        if not reads or answer is not None:
            yield _event(first, begin, end, steps, reads=reads, answer=answer)
    for attempt, result, claim in first.answers:
        if claim is Claim.NO and attempt.end is not None:
            assert isinstance(result, PreconditionFailed)
            part = next(each for each in parts if each.spec.key == result.name.key)
            since = begin if attempt.repeated else attempt.start
            says = _says_no(part, result, since, attempt.end, facts)
            yield _event(part, since, attempt.end, [(keys.index(part.spec.key), says)], reads=True, answer=result)


def _span(part: _Part, facts: Facts) -> tuple[float, Result | None] | None:
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
    landed = part.landed(facts)
    return None if landed is None else (landed, None)


def _says_no(part: _Part, result: Result, begin: float, end: float, facts: Facts) -> KeyStep:
    if isinstance(result, PreconditionFailed) and part.spec.precondition is not None:
        exact = len(part.call.attempts) == 1
        return refused(facts, part.spec, result, begin, end, exact=exact)
    return missing(facts, end)


def _event(
    part: _Part,
    begin: float,
    end: float,
    steps: Sequence[tuple[int, KeyStep]],
    *,
    reads: bool,
    answer: Result | None,
) -> _Placed:
    what = f"{begin:.4f} to {end:.4f} {part} {answer!r}"
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
