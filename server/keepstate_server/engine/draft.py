"""What operations on one record make of it, in memory: one compare-and-set, however many they are.

Pure: nothing here waits, reads a clock, or talks to a store.
"""

from collections.abc import Mapping
from dataclasses import replace

from keepstate_server.domain.errors import (
    FieldViolation,
    InvalidFields,
    KeepstateError,
    OutcomeUnknown,
    Overloaded,
    PreconditionFailed,
    RecordChanged,
    RecordExists,
    RecordMissing,
    UnsupportedByStore,
    UpdateNotApplicable,
)
from keepstate_server.domain.names import RecordName
from keepstate_server.domain.operations import (
    Answer,
    Check,
    Delete,
    Deleted,
    Found,
    Get,
    Operation,
    Put,
    Touch,
    Touched,
    Update,
    Updated,
    Write,
    Written,
)
from keepstate_server.domain.records import (
    ABSENT,
    EXISTS,
    KEEP_EXPIRY,
    Precondition,
    Record,
    Request,
    Version,
    etag_of,
)
from keepstate_server.domain.times import Instant
from keepstate_server.engine.envelope import Envelope
from keepstate_server.engine.room import Room, too_much
from keepstate_server.engine.settings import EngineSettings
from keepstate_server.engine.sighting import Raw, Sighting
from keepstate_server.engine.trail import (
    Answered,
    FirstAnswer,
    Trail,
    TrailEntry,
    WriteId,
    answered,
    folded,
    version_at,
)
from keepstate_server.engine.updates import JSON, NotApplicable, changed

__all__ = ["Draft", "NeedsRead", "Result", "another_write", "first_answer", "refused_with", "remembers"]

Result = Answer | KeepstateError
"""What an operation is answered; errors are values here, since one operation's error is not another's."""


def remembers(trail: Trail, request: Request, settings: EngineSettings) -> bool:
    """Says whether ``trail`` would hold ``request`` if an attempt at it had been applied.

    A record that is absent has forgotten all that is older than half a dead life: the same rule covers it.
    """
    return trail.remembers_since(Instant(request.first_sent - 2 * settings.clock_difference_ms))


_REFUSALS: Mapping[FirstAnswer, type[PreconditionFailed]] = {
    FirstAnswer.ETAG_MISMATCH: RecordChanged,
    FirstAnswer.EXISTS: RecordExists,
    FirstAnswer.NOT_FOUND: RecordMissing,
    FirstAnswer.NOT_APPLICABLE: UpdateNotApplicable,
}
_ANSWERS = {error: answer for answer, error in _REFUSALS.items()}


def first_answer(result: Result) -> FirstAnswer | None:
    """Returns how a trail remembers ``result``; None if it is not to be remembered."""
    match result:
        case Written() | Touched() | Updated() | Deleted(existed=True):
            return FirstAnswer.APPLIED
        case Deleted():
            return FirstAnswer.NOTHING_THERE
        case PreconditionFailed():
            return _ANSWERS[type(result)]
        case _:
            return None


def refused_with(answer: FirstAnswer, name: RecordName, etag: str) -> PreconditionFailed:
    """Returns the refusal that a trail remembers as ``answer``, of a record that has ``etag`` now."""
    return _REFUSALS[answer](name, etag)


def another_write(which: str) -> InvalidFields:
    """Returns the answer to a request that was another write's before: ``which`` says what kind of write it was."""
    return InvalidFields([FieldViolation(field="request", description=f"was another write's: {which}")])


class NeedsRead(Exception):
    """The operation cannot rest on a hint."""


class Draft:
    """One record, as operations in order leave it."""

    def __init__(
        self,
        sighting: Sighting,
        *,
        write: WriteId,
        now: Instant,
        settings: EngineSettings,
        tells_expiry: bool = True,
        room: Room | None = None,
    ) -> None:
        """Begins with what ``sighting`` shows at ``now``; ``write`` will identify the compare-and-set.

        ``tells_expiry`` says whether a read shows the expiry of another program's value. ``room`` is what updates may
        take of the answer, to be shared by drafts that are answered together.
        """
        self._sighting = sighting
        self._write = write
        self._now = now
        self._settings = settings
        self._tells_expiry = tells_expiry
        self._room = room or Room()
        self._trail = sighting.trail(now, settings.dead_life_ms // 2)
        self._record = sighting.record(now)
        self._untouched = True  # the record is still the one that the sighting shows
        self._expiry_given = False  # but its expiry is not
        self._last_version = version_at(write, 0)  # of the last operation that made one
        self._died = self._death_before()
        self._requests: list[Answered] = []
        self._changed = False

    @property
    def changed(self) -> bool:
        """Whether there is anything to write."""
        return self._changed

    def answer_within(self, room: Room) -> None:
        """Has the next operations' answers take ``room``: they are another caller's."""
        self._room = room

    def apply(self, operation: Operation | Check, position: int) -> Result:
        """Applies one operation, as the one at ``position`` of the write, and returns its answer.

        Raises:
            NeedsRead: the sighting is a hint, and the answer would need more than that.
        """
        result = self._apply(operation, position)
        # Only a write may rest on a hint: whatever says "no" must have read.
        if self._sighting.hinted and (isinstance(result, KeepstateError) or result == Deleted(existed=False)):
            raise NeedsRead
        return result

    def _apply(self, operation: Operation | Check, position: int) -> Result:
        self._let_expire()
        if isinstance(operation, Get):
            return self._get(operation)
        if isinstance(operation, Check):
            refusal = self._refusal(operation.name, operation.precondition)
            return refusal or Written(version=self._record.version if self._record else self._last_version)
        request = operation.request
        if request and (first := self._first_answer(operation, request)):
            return first
        if request and request.repeated and not remembers(self._trail, request, self._settings):
            return OutcomeUnknown(for_good=True)
        if request and request.repeated and not self._trail.room_for_repeat(self._now, self._requests):
            return Overloaded("repeated writes of one record at a time")
        result = self._perform(operation, position)
        if request:
            self._note(request, position, result)
        return result

    def _let_expire(self) -> None:
        """An operation before this one may have given an expiry that is past: it was reckoned when the call began."""
        expires = self._record.expire_time if self._record else None
        if expires is not None and expires <= self._now:
            self._record = None
            self._died = expires

    # Each kind of operation

    def _get(self, operation: Get) -> Result:
        if self._record is None:
            return RecordMissing(operation.name)
        self._require_value()
        if operation.slide_to is not None:
            self._move_expiry(self._record, operation.slide_to)
        return Found(record=self._record)

    def _move_expiry(self, record: Record, expire_at: Instant | None) -> None:
        self._record = replace(record, expire_time=expire_at)
        self._expiry_given = True
        self._changed = True

    def _perform(self, operation: Write, position: int) -> Result:
        if refusal := self._refusal(operation.name, operation.precondition):
            return refusal
        match operation:
            case Put():
                return self._put(operation, position)
            case Delete():
                return self._delete(position)
            case Touch():
                return self._touch(operation)
            case Update():
                return self._update(operation, position)

    def _put(self, operation: Put, position: int) -> Result:
        if unkept := self._unkept_expiry(operation):
            return unkept
        return Written(version=self._store(operation, operation.value, operation.content_type, position).version)

    def _update(self, operation: Update, position: int) -> Result:
        self._require_value()
        if unkept := self._unkept_expiry(operation):
            return unkept
        before = self._record.value if self._record else None
        # It counts with what it met, too: working that out takes its time, also where nothing comes of it.
        met = len(before or b"")
        if not self._room.take(met):
            return too_much()
        try:
            value = changed(operation.change, before, most_bytes=self._settings.value_bytes)
        except NotApplicable as fault:
            etag = etag_of(self._record.version) if self._record else ""
            return UpdateNotApplicable(operation.name, etag, str(fault))
        if not self._room.take(max(len(value) - met, 0)):
            return too_much()
        return Updated(record=self._store(operation, value, JSON, position))

    def _unkept_expiry(self, operation: Put | Update) -> UnsupportedByStore | None:
        if operation.expiry is KEEP_EXPIRY and self._expiry_unseen():
            return UnsupportedByStore(
                operation.name.store,
                "expiry of another program's value",
                "another program wrote this value, and the store does not tell its expiry: it cannot be kept;"
                " write with an expiry or without one",
            )
        return None

    def _store(self, operation: Put | Update, value: bytes, content_type: str, position: int) -> Record:
        before = self._record
        expiry = operation.expiry
        if expiry is KEEP_EXPIRY:
            expiry = before.expire_time if before else None
        version = version_at(self._write, position)
        record = Record(
            value=value,
            content_type=content_type,
            version=version,
            create_time=before.create_time if before else self._now,
            update_time=self._now,
            expire_time=expiry,
        )
        self._become(record, version)
        return record

    def _delete(self, position: int) -> Result:
        if self._record is None:
            return Deleted(existed=False)
        self._died = self._now
        self._become(None, version_at(self._write, position))
        return Deleted(existed=True)

    def _become(self, record: Record | None, version: Version) -> None:
        self._record = record
        self._last_version = version
        self._untouched = False
        self._changed = True

    def _touch(self, operation: Touch) -> Result:
        if self._record is None:
            return RecordMissing(operation.name)
        self._require_value()
        self._move_expiry(self._record, operation.expire_at)
        return Touched(version=self._record.version, expire_at=operation.expire_at)

    # What they have in common

    def _refusal(self, name: RecordName, precondition: Precondition) -> KeepstateError | None:
        record = self._record
        if precondition is None:
            return None
        if precondition is ABSENT:
            return RecordExists(name, etag_of(record.version)) if record else None
        if precondition is EXISTS:
            return None if record else RecordMissing(name)
        if record is None:
            return RecordChanged(name)
        return None if record.version == precondition else RecordChanged(name, etag_of(record.version))

    def _first_answer(self, operation: Write, request: Request) -> Result | None:
        """Returns what the request was answered before, if that is remembered."""
        found = self._trail_now().find(request) if self._requests else self._trail.find(request)
        if found is None:
            return None
        version, answer = found
        if answer is FirstAnswer.APPLIED:
            return self._applied_answer(operation, version)
        if answer is FirstAnswer.NOTHING_THERE:
            if isinstance(operation, Delete):
                return Deleted(existed=False)
            return another_write("of a delete")
        if answer is FirstAnswer.NOT_APPLICABLE and not isinstance(operation, Update):
            return another_write("of an update")
        etag = etag_of(self._record.version) if self._record else ""
        return refused_with(answer, operation.name, etag)

    def _applied_answer(self, operation: Write, version: Version) -> Result:
        match operation:
            case Put():
                return Written(version=version)
            case Delete():
                return Deleted(existed=True)
            case Touch():
                # A touch makes no version. What stands is told only if it stood then: by the etag of a later one its
                # caller would overwrite a value that it never saw. No etag matches the touch's own.
                stands = self._record.version if self._record else version
                untold = not self._trail_now().shows(stands, version)
                return Touched(version=version if untold else stands, expire_at=operation.expire_at)
            case Update():
                if self._sighting.hinted:
                    raise NeedsRead  # what the record is now, a hint does not tell
                size = len(self._record.value) if self._record else 0
                return Updated(record=self._record, repeated=True) if self._room.take(size) else too_much()

    def _note(self, request: Request, position: int, result: Result) -> None:
        """Notes the request in the trail: whenever it changed something, and a repeat also when it was refused."""
        answer = first_answer(result)
        if answer is None:
            return
        if answer is not FirstAnswer.APPLIED:
            if not request.repeated:
                return
            # The first attempt may still be running: it shall find this and be refused too.
            self._require_value()
        self.carry(request, position, answer)

    def carry(self, request: Request, position: int, answer: FirstAnswer) -> Answered:
        """Has the write remember ``request``, also where the record stays as it is; returns the note of it."""
        note = answered(request, position, answer, Instant(self._now + self._settings.repeat_life_ms))
        self._requests[-1:] = folded((*self._requests[-1:], note)) if self._requests else (note,)
        self._changed = True
        return note

    def _trail_now(self) -> Trail:
        """Returns the trail with this write, so far, as its newest; not shortened."""
        entry = TrailEntry(write=self._write, time=self._now, requests=tuple(self._requests))
        return replace(self._trail, entries=(entry, *self._trail.entries))

    def _require_value(self) -> None:
        if self._sighting.hinted and self._untouched and self._record:
            raise NeedsRead

    def _expiry_unseen(self) -> bool:
        seen = self._tells_expiry or self._expiry_given or not self._untouched
        return not seen and isinstance(self._sighting.content, Raw)

    def _death_before(self) -> Instant | None:
        """When the record that is not there died, if anything still stands there."""
        content = self._sighting.content
        if self._record is not None or content is None:
            return None
        return (content.death_time if isinstance(content, Envelope) else None) or content.expire_time or self._now

    # The result

    def envelope(self) -> Envelope:
        """Returns what is to be written."""
        entry = TrailEntry(write=self._write, time=self._now, requests=tuple(self._requests))
        trail = self._trail.followed_by(entry)
        if (record := self._record) is not None:
            return Envelope(
                version=record.version,
                value=record.value,
                content_type=record.content_type,
                create_time=record.create_time,
                update_time=record.update_time,
                expire_time=record.expire_time,
                death_time=None,
                write_time=self._now,
                trail=trail,
            )
        return Envelope(
            version=self._last_version,
            value=b"",
            content_type="",
            create_time=None,
            update_time=None,
            expire_time=None,
            death_time=self._died or self._now,
            write_time=self._now,
            trail=trail,
        )
