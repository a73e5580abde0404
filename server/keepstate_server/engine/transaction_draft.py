"""One attempt at a transaction, in memory, upon what was read for it. Pure, like ``draft``."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from keepstate_server.domain.errors import KeepstateError, OutcomeUnknown, Overloaded
from keepstate_server.domain.operations import (
    Answer,
    Check,
    Delete,
    Deleted,
    TransactionOperation,
    Update,
    Updated,
    Written,
)
from keepstate_server.domain.records import Request, Version, etag_of
from keepstate_server.domain.times import Instant
from keepstate_server.engine.draft import Draft, another_write, first_answer, refused_with, remembers
from keepstate_server.engine.envelope import Envelope, Intent, Location
from keepstate_server.engine.room import Room, too_much
from keepstate_server.engine.settings import EngineSettings
from keepstate_server.engine.sighting import Sighting
from keepstate_server.engine.trail import Answered, FirstAnswer, Trail, WriteId, position_of, version_at, write_of

__all__ = ["Located", "TransactionDraft", "witness_of"]

Located = Sequence[tuple[Location, TransactionOperation]]


def witness_of(operations: Located) -> Location | None:
    """Returns the first record that is written: by it repeats are judged. None: all are only checked."""
    return min((at for at, operation in operations if not isinstance(operation, Check)), default=None)


class TransactionDraft:
    """What the operations of a transaction make of its records."""

    def __init__(
        self,
        operations: Located,
        sightings: Mapping[Location, Sighting],
        write: WriteId,
        now: Instant,
        settings: EngineSettings,
        *,
        blind: frozenset[str] = frozenset(),
    ) -> None:
        """Evaluates ``operations`` upon ``sightings`` at ``now``; ``write`` will identify what is written.

        ``blind`` are the stores that do not show the expiry of another program's value.
        """
        self.write = write
        self.now = now
        self._operations = operations
        self._sightings = sightings
        self._settings = settings
        self._blind = blind
        self._room = Room()  # of the answers that hold records
        self._refused_at = 0
        self._drafts = {at: self._draft(at) for at, _ in operations}
        self.answers: list[Answer] = []
        self.refusal: KeepstateError | None = None
        for position, (at, operation) in enumerate(operations):
            result = self._drafts[at].apply(operation, position)
            if isinstance(result, KeepstateError):
                if self.refusal is None:
                    self.refusal, self._refused_at = result, position
            else:
                self.answers.append(result)

    def first_answers(self, request: Request, witness: Location) -> Sequence[Answer] | None:
        """Returns what ``request`` was answered by an earlier attempt; None if there was none.

        Raises:
            KeepstateError: it was refused, or a repeat cannot be told from a first attempt any more.
        """
        half = self._settings.dead_life_ms // 2
        trails = {at: sighting.trail(self.now, half) for at, sighting in self._sightings.items()}
        for at, operation in self._operations:
            found = None if isinstance(operation, Check) else trails[at].find(request)
            if found is None:
                continue
            version, answer = found
            if answer in (FirstAnswer.APPLIED, FirstAnswer.NOTHING_THERE):
                room = Room()
                return [
                    self._first_answer(each, its, trails[its], request, version_at(write_of(version), position), room)
                    for position, (its, each) in enumerate(self._operations)
                ]
            # A refusal lies where the reach of the trail is judged, and nowhere else.
            if at == witness:
                raise self._first_refusal(position_of(version), answer)
        if request.repeated and not remembers(trails[witness], request, self._settings):
            raise OutcomeUnknown(for_good=True)
        written = [trails[at] for at, operation in self._operations if not isinstance(operation, Check)]
        if request.repeated and not all(trail.room_for_repeat(self.now) for trail in written):
            raise Overloaded("repeated writes of one record at a time")
        return None

    def results(self, request: Request | None) -> list[tuple[Location, Envelope]]:
        """Returns what becomes of each record, all at once; those that change remember ``request``."""
        results = []
        for position, (at, operation) in enumerate(self._operations):
            self._carry(position, at, operation, request)
            content = self._sightings[at].content
            # What is only checked is written again to the letter: its etag in the store changes, nothing else.
            unchanged = content if isinstance(operation, Check) and isinstance(content, Envelope) else None
            results.append((at, unchanged or self._drafts[at].envelope()))
        return results

    def intents(
        self, request: Request | None, *, outcome_store: str, isolated: bool
    ) -> list[tuple[Location, Envelope]]:
        """Returns each record as it is, with the intent of becoming what ``results`` would make of it."""
        records = tuple(at for at, _ in self._operations)
        intents = []
        for position, (at, operation) in enumerate(self._operations):
            requests = self._carry(position, at, operation, request)
            becomes = None if isinstance(operation, Check) else self._drafts[at].envelope()
            intent = Intent(
                transaction=self.write,
                time=self.now,
                outcome_store=outcome_store,
                isolated=isolated,
                records=records,
                becomes=replace(becomes, trail=Trail()) if becomes else None,
                requests=requests,
            )
            intents.append((at, replace(self._draft(at).envelope(), intent=intent)))
        return intents

    def refused(self, request: Request, witness: Location) -> Envelope | None:
        """Returns the witness as it is, but remembering that ``request`` was refused.

        The first attempt may still be running: it shall find this and be refused too. None: the refusal settles
        nothing, the request may as well succeed later.
        """
        answer = first_answer(self.refusal) if self.refusal else None
        if answer is None:
            return None
        draft = self._draft(witness)
        draft.carry(request, self._refused_at, answer)
        return draft.envelope()

    def expired(self, now: Instant) -> bool:
        """Says whether a record that lived when it was tested has expired by ``now``."""
        return any(sighting.expired_between(self.now, now) for sighting in self._sightings.values())

    def _draft(self, at: Location) -> Draft:
        return Draft(
            self._sightings[at],
            write=self.write,
            now=self.now,
            settings=self._settings,
            tells_expiry=at.store not in self._blind,
            room=self._room,
        )

    def _carry(
        self, position: int, at: Location, operation: TransactionOperation, request: Request | None
    ) -> tuple[Answered, ...]:
        """Has the record remember ``request``; returns what its trail notes of it."""
        answer = first_answer(self.answers[position])
        if request is None or answer is None or isinstance(operation, Check):
            return ()
        return (self._drafts[at].carry(request, position, answer),)

    def _first_refusal(self, position: int, answer: FirstAnswer) -> KeepstateError:
        """Returns what an earlier attempt was refused with, for the operation at ``position``."""
        if position >= len(self._operations):
            return another_write("of a larger transaction")
        at, operation = self._operations[position]
        record = self._sightings[at].record(self.now)
        return refused_with(answer, operation.name, etag_of(record.version) if record else "")

    def _first_answer(
        self,
        operation: TransactionOperation,
        at: Location,
        trail: Trail,
        request: Request,
        version: Version,
        room: Room,
    ) -> Answer:
        match operation:
            case Update():
                record = self._sightings[at].record(self.now)
                if record is not None and not room.take(len(record.value)):
                    raise too_much()
                return Updated(record=record, repeated=True)
            case Delete():
                found = trail.find(request)
                if found is None:
                    raise OutcomeUnknown(for_good=True)  # whether there was something to delete is forgotten
                return Deleted(existed=found[1] is FirstAnswer.APPLIED)
            case _:
                return Written(version=version)
