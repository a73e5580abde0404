"""What a record is in the checker's eyes, and what each answer says of it.

A record's state is who made its value, who gave its expiry, each by number, and the value; expiry is judged with the
tolerance that the contract leaves: clocks differ, and a write that was tested just before may land just after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from keepstate_server.domain.errors import (
    PreconditionFailed,
    RecordChanged,
    RecordExists,
    RecordMissing,
    UpdateNotApplicable,
)
from keepstate_server.domain.names import RecordName
from keepstate_server.domain.operations import Deleted, Found, Touched, Updated, Written
from keepstate_server.domain.records import ABSENT, EXISTS, Precondition, Record, Version
from keepstate_server.domain.records import version_of as version_of_etag
from keepstate_server.domain.times import Instant
from keepstate_server.engine.draft import Result
from keepstate_server.engine.trail import WriteId, write_of
from tests.simulation.applied import Applied
from tests.simulation.clocks import START
from tests.simulation.history import Kind, Spec
from tests.simulation.values import after, canonical, is_text

__all__ = ["NOTHING", "Facts", "KeyState", "KeyStep", "missing", "refused", "shown", "written"]

KeyState = tuple[int, int, bytes]
"""Who made the value, who gave the expiry; -1: nobody; and the value."""

KeyStep = Callable[[KeyState, float], Sequence[KeyState]]
"""The states after an answer, given that before and the time that it cannot be earlier than."""

NOTHING: KeyState = (-1, -1, b"")


@dataclass(kw_only=True)
class Facts:
    """What the history shows as a whole."""

    tolerance: float
    values: dict[bytes, int] = field(default_factory=dict)
    """Who wrote what nobody else writes."""
    versions: dict[int, Version] = field(default_factory=dict)
    makers: dict[Version, int] = field(default_factory=dict)
    writes: dict[int, WriteId] = field(default_factory=dict)
    """The write by which the store applied what somebody asked for, where that is seen."""
    contents: dict[Version, bytes] = field(default_factory=dict)
    """What each version was shown to be."""
    expiries: dict[int, tuple[Instant | None, ...]] = field(default_factory=dict)
    """What the expiry that somebody gave may be: each attempt reckons it anew."""
    starts: dict[RecordName, KeyState] = field(default_factory=dict)
    """What stood there before anything else."""
    repeated: set[int] = field(default_factory=set)
    """Who was sent more than once."""

    applied: Applied = field(default_factory=Applied)

    def note(self, maker: int, version: Version) -> str | None:
        """Notes who made ``version``; says what is wrong with that."""
        if self.versions.setdefault(maker, version) != version:
            return f"one write has two etags: {version.hex()} and {self.versions[maker].hex()}"
        if self.makers.setdefault(version, maker) != maker:
            return f"two writes have one etag: {version.hex()}"
        return None

    def note_shown(self, record: Record) -> str | None:
        """Notes what a record was shown to be; says what is wrong with that."""
        if self.contents.setdefault(record.version, record.value) != record.value:
            return f"one etag has two values, also {self.contents[record.version]!r}"
        maker = self.values.get(record.value)
        if maker is not None:
            return self.note(maker, record.version)
        return "a value that nobody wrote" if is_text(record.value) else None

    def lives(self, state: KeyState, when: float) -> bool:
        """Says whether the record may exist at ``when``, or may have when it was tested then."""
        if state == NOTHING:
            return False
        return any(expiry is None or when <= _seconds(expiry) + self.tolerance for expiry in self._expiries(state))

    def is_gone(self, state: KeyState, until: float) -> bool:
        """Says whether somebody may find, by ``until``, that there is no record."""
        if state == NOTHING:
            return True
        return any(
            expiry is not None and until >= _seconds(expiry) - self.tolerance for expiry in self._expiries(state)
        )

    def is_version(self, maker: int, version: Precondition) -> bool:
        """Says whether ``version`` may be what ``maker`` made."""
        known = self.versions.get(maker)
        if known is not None or not isinstance(version, bytes):
            return known == version
        write = self.writes.get(maker)
        return version not in self.makers and (write is None or write_of(version) == write)

    def may_expire(self, state: KeyState, expiry: Instant | None) -> bool:
        return expiry in self._expiries(state)

    def _expiries(self, state: KeyState) -> Sequence[Instant | None]:
        return self.expiries.get(state[1], (None,))


def _seconds(instant: Instant) -> float:
    return (instant - START) / 1000


def shown(facts: Facts, answer: Found) -> KeyStep:
    """A read showed a record."""
    record = answer.record
    value = canonical(record.value)

    def step(state: KeyState, low: float) -> Sequence[KeyState]:
        fits = (
            state[2] == value
            and state != NOTHING
            and facts.is_version(state[0], record.version)
            and facts.lives(state, low)
            and facts.may_expire(state, record.expire_time)
        )
        return (state,) if fits else ()

    return step


def missing(facts: Facts, end: float) -> KeyStep:
    """A read or a delete found nothing by ``end``."""

    def step(state: KeyState, low: float) -> Sequence[KeyState]:
        return (state,) if facts.is_gone(state, end) else ()

    return step


def refused(facts: Facts, spec: Spec, error: PreconditionFailed, begin: float, end: float, *, exact: bool) -> KeyStep:
    """A precondition did not hold at a moment between; ``exact``: what the error tells is of that moment."""
    told = version_of_etag(error.etag) if error.etag else None

    def step(state: KeyState, low: float) -> Sequence[KeyState]:
        lives = facts.lives(state, begin) and (not exact or told is None or facts.is_version(state[0], told))
        gone = facts.is_gone(state, end)
        match error:
            case RecordExists():
                fits = lives
            case RecordMissing():
                fits = gone
            case UpdateNotApplicable():
                fits = (lives and after(spec.change, state[2]) is None) or (gone and after(spec.change, None) is None)
            case RecordChanged() if exact:
                fits = lives and told != spec.precondition if told else gone
            case _:
                fits = gone or (lives and facts.versions.get(state[0]) != spec.precondition)
        return (state,) if fits else ()

    return step


def written(facts: Facts, spec: Spec, number: int, begin: float, end: float, answer: Result | None) -> KeyStep:
    """An operation took effect; it was tested at ``begin`` at the earliest."""

    def step(state: KeyState, low: float) -> Sequence[KeyState]:
        states: list[KeyState] = []
        if facts.lives(state, begin) and _holds_of_living(facts, spec.precondition, state[0]):
            states.extend(_from_living(facts, spec, number, answer, state))
        if spec.precondition in (None, ABSENT) and facts.is_gone(state, end):
            states.extend(_from_nothing(facts, spec, number, answer, state))
        return states

    return step


def _holds_of_living(facts: Facts, precondition: Precondition, maker: int) -> bool:
    if precondition is None or precondition is EXISTS:
        return True
    return precondition is not ABSENT and facts.is_version(maker, precondition)


def _from_living(facts: Facts, spec: Spec, number: int, answer: Result | None, state: KeyState) -> Sequence[KeyState]:
    maker, owner, value = state
    match spec.kind:
        case Kind.PUT:
            return ((number, owner if spec.keep else number, canonical(spec.value)),)
        case Kind.DELETE:
            return () if answer == Deleted(existed=False) else (NOTHING,)
        case Kind.TOUCH:
            return ((maker, number, value),) if _touched(facts, number, answer, maker) else ()
        case Kind.SLIDE:
            fits = not isinstance(answer, Found) or (
                canonical(answer.record.value) == value and facts.is_version(maker, answer.record.version)
            )
            return ((maker, number, value),) if fits else ()
        case Kind.CHECK:
            # Nobody is told the version; of a transaction that was found to be applied already it is none.
            told = answer.version if isinstance(answer, Written) else None
            return (state,) if told not in facts.makers or facts.is_version(maker, told) else ()
        case _:
            return _updated(facts, spec, answer, (number, owner if spec.keep else number), value)


def _updated(
    facts: Facts, spec: Spec, answer: Result | None, made: tuple[int, int], value: bytes | None
) -> Sequence[KeyState]:
    """Returns the state that an update leaves where ``value`` stood, if its answer shows that."""
    new = after(spec.change, value)
    if new is None:
        return ()
    state = (*made, new)
    if isinstance(answer, Updated) and answer.record and not answer.repeated:
        record = answer.record
        if canonical(record.value) != new or not facts.may_expire(state, record.expire_time):
            return ()
    return (state,)


def _touched(facts: Facts, number: int, answer: Result | None, maker: int) -> bool:
    if not isinstance(answer, Touched):
        return True
    if answer.version in facts.makers:
        return facts.makers[answer.version] == maker
    # A repeat that cannot tell what stood then is told an etag that matches nothing.
    return number in facts.repeated or maker not in facts.versions


def _from_nothing(facts: Facts, spec: Spec, number: int, answer: Result | None, state: KeyState) -> Sequence[KeyState]:
    owner = -1 if spec.keep else number
    match spec.kind:
        case Kind.PUT:
            return ((number, owner, canonical(spec.value)),)
        case Kind.DELETE:
            return () if answer == Deleted(existed=True) else (state,)
        case Kind.CHECK:
            return (state,)
        case Kind.TOUCH | Kind.SLIDE:
            return ()
        case _:
            return _updated(facts, spec, answer, (number, owner), None)
