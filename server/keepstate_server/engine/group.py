"""Operations on one key, of one caller or of several, on their way into one compare-and-set."""

from collections.abc import Sequence
from dataclasses import replace

from keepstate_server.domain.errors import DeadlineExceeded, KeepstateError, OutcomeUnknown
from keepstate_server.domain.operations import Found, Get, Update, Updated
from keepstate_server.domain.records import Consistency, Record
from keepstate_server.domain.times import Instant
from keepstate_server.engine.attempts import Attempt, Verdict, judge
from keepstate_server.engine.deadline import Deadline, Latest
from keepstate_server.engine.draft import Draft, NeedsRead, Result
from keepstate_server.engine.envelope import Envelope
from keepstate_server.engine.part import Part
from keepstate_server.engine.settings import EngineSettings
from keepstate_server.engine.sighting import Raw, Sighting
from keepstate_server.engine.trail import WriteId
from keepstate_server.engine.writes import compare_and_set
from keepstate_server.stores.base import CompareAndSet, Fate, Outcome

__all__ = ["Group", "fitting"]

# What goes into one compare-and-set for several callers: operations, the bytes that they bring, and those of the
# records that they are answered. Each caller's answer has room for its own, but all are made at once.
_MOST_OPERATIONS = 128
_MOST_BYTES = 1024 * 1024
_MOST_ANSWERED = 4 * 1024 * 1024


def fitting(parts: Sequence[Part]) -> int:
    """Returns how many of ``parts``, from the first on, may form a group: at least one."""
    operations = size = 0
    for count, part in enumerate(parts):
        operations += len(part.operations)
        size += part.brings
        if count and (operations > _MOST_OPERATIONS or size > _MOST_BYTES):
            return count
    return len(parts)


class Group:
    """Operations on one key in the order of arrival, what is known of the key, and what was sent for them.

    The caller shows it what stands under the key (``see``), asks what is to be written (``plan``) and for the write
    itself (``compare_and_set``), and tells it what became of that (``conclude``), until every part has its results.
    """

    def __init__(self, key: str, parts: Sequence[Part], settings: EngineSettings) -> None:
        """Begins knowing nothing of the key."""
        self.key = key
        self.parts = parts
        self.deadline: Deadline = parts[0].deadline if len(parts) == 1 else Latest([each.deadline for each in parts])
        self._operations = [operation for part in parts for operation in part.operations]
        self.sighting: Sighting | None = None
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
        self._attempts: list[Attempt] = []  # of which the store did not say what became of them
        self._planned = False  # the last of them was not sent so far
        self._carried: dict[WriteId, Sequence[Part]] = {}  # by each
        self._envelope: Envelope | None = None  # the one under way

    @property
    def done(self) -> bool:
        """Whether every part has its results."""
        return all(part.results is not None for part in self.parts)

    @property
    def reads_only(self) -> bool:
        """Whether nothing can be written."""
        return all(part.reads_only for part in self.parts)

    @property
    def must_read(self) -> bool:
        """Whether a hint will not do, known from the operations alone."""
        return any(
            isinstance(each, Get | Update) or (each.request and each.request.repeated) for each in self._operations
        )

    @property
    def consistency(self) -> Consistency:
        """The strongest that any of the operations asks for."""
        eventual = all(operation.consistency is Consistency.EVENTUAL for operation in self._operations)
        return Consistency.EVENTUAL if eventual else Consistency.STRONG

    @property
    def uncertain(self) -> bool:
        """Whether something was sent of which nobody knows the fate."""
        return any(attempt.fate is not Fate.REFUSED for attempt in self._attempts)

    @property
    def may_send(self) -> bool:
        """Whether the last plan may be sent: all whom it carries still wait for it, and nobody else was left out."""
        return all(part.results is None and part.deadline.may_begin for part in self._carried[self._attempts[-1].write])

    @property
    def raw(self) -> Raw | None:
        """Another program's value that must be adopted before it is written over."""
        content = self.sighting.content if self.sighting else None
        if not isinstance(content, Raw) or (self.adopted and content.version == self.adopted.version):
            return None
        return content

    def fail(self, error: KeepstateError) -> None:
        """Gives every operation that has no answer the same one."""
        for part in self.parts:
            part.fail(error)

    def give_up(self, part: Part) -> None:
        """Answers a part whose time is up, or whose caller has gone; nothing more is sent for it."""
        sent = self._attempts[:-1] if self._planned else self._attempts
        unknown = any(each.fate is not Fate.REFUSED and part in self._carried[each.write] for each in sent)
        part.fail(OutcomeUnknown() if unknown else DeadlineExceeded())

    def give_up_in_time(self) -> None:
        """Answers those for whom nothing more may be sent."""
        for part in self.parts:
            if part.results is None and not part.deadline.may_begin:
                self.give_up(part)

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
        for part in self.parts:
            part.bytes_seen = len(sighting.content.value) if sighting.content else 0
        verdicts = [judge(attempt, sighting, now, self._settings) for attempt in self._attempts]
        if Verdict.APPLIED in verdicts:
            self._tell(self._attempts[verdicts.index(Verdict.APPLIED)])
        for attempt, verdict in zip(self._attempts, verdicts, strict=True):
            if verdict is Verdict.UNKNOWN:
                for part in self._carried[attempt.write]:
                    part.fail(OutcomeUnknown(for_good=True))
        self._attempts = [attempt for attempt in self._attempts if attempt.may_yet_arrive(sighting)]

    def plan(self, write: WriteId, now: Instant, *, tells_expiry: bool) -> tuple[Sighting, Envelope] | None:
        """Works out the answers, and returns what must be written before they may be given, and upon what.

        None: ``results`` are there, or the hint did not do and ``sighting`` is None: read, and call again.
        """
        assert self.sighting is not None
        draft = Draft(self.sighting, write=write, now=now, settings=self._settings, tells_expiry=tells_expiry)
        try:
            parts, results = self._apply(draft)
        except NeedsRead:
            # A hint goes to a read; an absence that a read was not sure of goes to one that is.
            self.sure = self.sighting.perhaps_nothing
            self.sighting = None
            return None
        if not draft.changed:
            if self._attempts:
                # An earlier attempt may yet arrive and make these answers wrong: say so.
                self.fail(OutcomeUnknown())
            else:
                _share_out(results, parts)
            return None
        self._envelope = draft.envelope()
        attempt = Attempt(write=write, base=self.sighting.base, etag=self.sighting.etag, sent_at=now, results=results)
        self._attempts.append(attempt)
        self._carried[write] = parts
        self._planned = True
        return self.sighting, self._envelope

    def _apply(self, draft: Draft) -> tuple[Sequence[Part], Sequence[Result]]:
        """Applies those operations that still wait, or as many as may be answered at once; returns whose and how."""
        parts: list[Part] = []
        results: list[Result] = []
        answered = 0
        for part in self.parts:
            if part.results is not None:
                continue
            if answered > _MOST_ANSWERED:
                break
            room = part.room
            draft.answer_within(room)
            its = [draft.apply(operation, len(results) + at) for at, operation in enumerate(part.operations)]
            part.hold(room)
            parts.append(part)
            results += its
            answered += sum(map(_answered, its)) if len(self.parts) > 1 else 0
        return parts, results

    def _tell(self, attempt: Attempt) -> None:
        _share_out(attempt.results, self._carried[attempt.write])

    def compare_and_set(self, envelope: Envelope) -> CompareAndSet:
        """Returns what stores the plan, as ``envelope``."""
        assert self.sighting is not None
        self._envelope = envelope
        now = self._attempts[-1].sent_at
        etag, settings = self.sighting.etag, self._settings
        return compare_and_set(self.key, etag, envelope, now, settings, self.consistency, alone=self.alone)

    def begin(self) -> None:
        """Notes that the last plan is sent now."""
        self._planned = False

    def withdraw(self) -> None:
        """Takes back the last plan: it was not sent."""
        self._planned = False
        del self._carried[self._attempts.pop().write]

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
                self._tell(attempt)
                if outcome.next_etag is not None:
                    return Sighting(etag=outcome.next_etag, content=self._envelope)
            case Fate.FAILED:
                self._attempts.pop()
            case fate:
                self._attempts[-1] = replace(attempt, fate=fate)
        return None


def _share_out(results: Sequence[Result], parts: Sequence[Part]) -> None:
    """Gives each of ``parts`` its own of their results, which come in their order."""
    at = 0
    for part in parts:
        part.tell(results[at : at + len(part.operations)])
        at += len(part.operations)


def _answered(result: Result) -> int:
    match result:
        case Found(record=record) | Updated(record=Record() as record):
            return len(record.value)
        case _:
            return 0
