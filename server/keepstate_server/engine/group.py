"""The operations of one call on one key, on their way into one compare-and-set."""

from collections.abc import Sequence
from dataclasses import replace

from keepstate_server.domain.errors import KeepstateError, OutcomeUnknown
from keepstate_server.domain.operations import Get, Operation, Put, Update
from keepstate_server.domain.records import Consistency
from keepstate_server.domain.times import Instant
from keepstate_server.engine.attempts import Attempt, Verdict, judge
from keepstate_server.engine.draft import Draft, NeedsRead, Result
from keepstate_server.engine.envelope import Envelope
from keepstate_server.engine.room import Room
from keepstate_server.engine.settings import EngineSettings
from keepstate_server.engine.sighting import Raw, Sighting
from keepstate_server.engine.trail import WriteId
from keepstate_server.engine.writes import compare_and_set
from keepstate_server.stores.base import CompareAndSet, Fate, Outcome

__all__ = ["Group", "reads_only"]


def reads_only(operation: Operation) -> bool:
    """Says whether ``operation`` can write nothing."""
    return isinstance(operation, Get) and operation.slide_to is None


class Group:
    """Operations on one key in the order asked, what is known of the key, and what was sent for them.

    The caller shows it what stands under the key (``see``), asks what is to be written (``plan``) and for the write
    itself (``compare_and_set``), and tells it what became of that (``conclude``), until ``results`` are there.
    """

    def __init__(
        self, key: str, operations: Sequence[Operation], settings: EngineSettings, *, room: Room | None = None
    ) -> None:
        """Begins knowing nothing of the key; ``room`` is what updates may take of the answer, shared with others."""
        self.key = key
        self.operations = tuple(operations)
        self.results: Sequence[Result] | None = None
        self.sighting: Sighting | None = None
        self.bytes_seen = 0
        """How large the value was that was read last."""
        self.asked_at = Instant(0)
        """When the record was last asked for."""
        self.sent = False
        """Whether any compare-and-set was sent."""
        self.sure = False
        """Whether the next read must be sure of an absence."""
        self.put_off = 0
        """How often nothing was sent since the record was about to be collected."""
        self.alone = False
        """Whether the next write goes out by itself: the last came back, perhaps for what others wrote beside it."""
        self.adopted: Raw | None = None
        """Another program's value that was made ready to be written over, as it was read before."""
        self._settings = settings
        self._room = room or Room()
        self._held = 0  # of the room, by the attempts so far: any of them may become the answer
        self._attempts: list[Attempt] = []  # of which the store did not say what became of them
        self._envelope: Envelope | None = None  # the one under way

    @property
    def reads_only(self) -> bool:
        """Whether nothing can be written."""
        return all(map(reads_only, self.operations))

    @property
    def size(self) -> int:
        """How large the value is, as far as it was seen; 0: nothing was."""
        return max([self.bytes_seen, *(len(each.value) for each in self.operations if isinstance(each, Put))])

    @property
    def must_read(self) -> bool:
        """Whether a hint will not do, known from the operations alone."""
        return any(
            isinstance(each, Get | Update) or (each.request and each.request.repeated) for each in self.operations
        )

    @property
    def consistency(self) -> Consistency:
        """The strongest that any of the operations asks for."""
        eventual = all(operation.consistency is Consistency.EVENTUAL for operation in self.operations)
        return Consistency.EVENTUAL if eventual else Consistency.STRONG

    @property
    def uncertain(self) -> bool:
        """Whether something was sent of which nobody knows the fate."""
        return any(attempt.fate is not Fate.REFUSED for attempt in self._attempts)

    @property
    def raw(self) -> Raw | None:
        """Another program's value that must be adopted before it is written over."""
        content = self.sighting.content if self.sighting else None
        if not isinstance(content, Raw) or (self.adopted and content.version == self.adopted.version):
            return None
        return content

    def fail(self, error: KeepstateError) -> None:
        """Gives every operation the same answer."""
        self.results = [error] * len(self.operations)

    def see(self, sighting: Sighting, now: Instant) -> None:
        """Takes what stands under the key, and judges by it what was sent before."""
        if self._attempts and sighting.perhaps_nothing:
            # What was sent is not judged by an absence that the read was not sure of.
            self.sure = True
            self.sighting = None
            return
        content = sighting.content
        if isinstance(content, Raw) and self.adopted and content.value == self.adopted.value:
            # Adopting may change the store's etag, but the value and so its public etag are the same.
            sighting = replace(sighting, content=replace(content, version=self.adopted.version))
        self.sighting = sighting
        self.bytes_seen = len(sighting.content.value) if sighting.content else 0
        verdicts = [judge(attempt, sighting, now, self._settings) for attempt in self._attempts]
        if Verdict.APPLIED in verdicts:
            self.results = self._attempts[verdicts.index(Verdict.APPLIED)].results
        elif Verdict.UNKNOWN in verdicts:
            self.fail(OutcomeUnknown(for_good=True))
        self._attempts = [attempt for attempt in self._attempts if attempt.may_yet_arrive(sighting)]

    def plan(self, write: WriteId, now: Instant, *, tells_expiry: bool) -> tuple[Sighting, Envelope] | None:
        """Works out the answers, and returns what must be written before they may be given, and upon what.

        None: ``results`` are there, or the hint did not do and ``sighting`` is None: read, and call again.
        """
        assert self.sighting is not None
        room = Room(self._room.left + self._held)
        draft = Draft(
            self.sighting, write=write, now=now, settings=self._settings, tells_expiry=tells_expiry, room=room
        )
        try:
            results = [draft.apply(operation, position) for position, operation in enumerate(self.operations)]
        except NeedsRead:
            # A hint goes to a read; an absence that a read was not sure of goes to one that is.
            self.sure = self.sighting.perhaps_nothing
            self.sighting = None
            return None
        self._hold(room)
        if not draft.changed:
            if self._attempts:
                # An earlier attempt may yet arrive and make these answers wrong: say so.
                self.fail(OutcomeUnknown())
            else:
                self.results = results
            return None
        self._envelope = draft.envelope()
        attempt = Attempt(write=write, base=self.sighting.base, etag=self.sighting.etag, sent_at=now, results=results)
        self._attempts.append(attempt)
        return self.sighting, self._envelope

    def compare_and_set(self, envelope: Envelope) -> CompareAndSet:
        """Returns what stores the plan, as ``envelope``."""
        assert self.sighting is not None
        self._envelope = envelope
        now = self._attempts[-1].sent_at
        etag, settings = self.sighting.etag, self._settings
        return compare_and_set(self.key, etag, envelope, now, settings, self.consistency, alone=self.alone)

    def _hold(self, room: Room) -> None:
        """Takes what of ``room`` was used and is not held yet."""
        more = max(self._room.left - room.left, 0)
        self._room.left -= more
        self._held += more

    def withdraw(self) -> None:
        """Takes back the last plan: it was not sent."""
        self._attempts.pop()

    def conclude(self, outcome: Outcome) -> Sighting | None:
        """Takes what became of the plan. Returns what now stands under the key, where that is known."""
        # Of several that were tried, that one was refused says little of the others. Twice does not happen by chance.
        self.alone = self.sent or outcome.fate is Fate.UNCERTAIN
        self.sent = True
        attempt = self._attempts[-1]
        # What was taken for an absence and refused was perhaps none.
        self.sure = self.sighting is not None and self.sighting.perhaps_nothing
        self.sighting = None
        match outcome.fate:
            case Fate.APPLIED:
                self.results = attempt.results
                if outcome.next_etag is not None:
                    return Sighting(etag=outcome.next_etag, content=self._envelope)
            case Fate.FAILED:
                self._attempts.pop()
            case fate:
                self._attempts[-1] = replace(attempt, fate=fate)
        return None
