"""What a record remembers of its last writes.

By its trail a record tells, later, whether a write whose reply was lost was applied, and what a repeated request was
answered the first time. Every rule here came out of simulation; docs/records.md has the reasons.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import NewType

from keepstate_server.domain.records import Request, Version
from keepstate_server.domain.times import Instant
from keepstate_server.domain.values import frozen

__all__ = [
    "KEPT_BYTES",
    "SHORT_BYTES",
    "WRITE_BYTES",
    "Answered",
    "FirstAnswer",
    "Trail",
    "TrailEntry",
    "WriteId",
    "answered",
    "folded",
    "position_of",
    "version_at",
    "write_of",
]

WriteId = NewType("WriteId", bytes)
"""14 random bytes that name one compare-and-set. With a position of two bytes they make a version."""

WRITE_BYTES = 14
SHORT_BYTES = 8  # of each write before the entries

_NEVER = Instant(0)

_MAX_WRITES = 16
_MAX_ENTRY_BYTES = 1024
_MAX_AGE = 10 * 60 * 1000
KEPT_BYTES = 4 * 1024

# About how much an entry takes in the store, and each note of requests in it.
_ENTRY_BYTES = 22
_NOTE_BYTES = 18


def version_at(write: WriteId, position: int) -> Version:
    """Returns the version that the operation at ``position`` of ``write`` made. Operations never share a version."""
    return Version(write + position.to_bytes(2, "big"))


def position_of(version: Version) -> int:
    """Returns the position within its write of the operation that made ``version``."""
    return int.from_bytes(version[WRITE_BYTES:], "big")


def write_of(version: Version) -> WriteId:
    """Returns the write that made ``version``."""
    return WriteId(version[:WRITE_BYTES])


class FirstAnswer(IntEnum):
    """What a request was answered."""

    APPLIED = 0
    NOTHING_THERE = 1
    ETAG_MISMATCH = 2
    EXISTS = 3
    NOT_FOUND = 4
    NOT_APPLICABLE = 5


@frozen
class Answered:
    """Neighbouring requests of one client that one write carried, all answered alike."""

    client: int
    first: int
    more: int = 0
    position: int = 0
    answer: FirstAnswer = FirstAnswer.APPLIED
    keep_until: Instant = _NEVER
    """A repeat wrote this: until then it must be kept, since the first attempt may still be running."""

    def followed_by(self, other: "Answered") -> bool:
        """Says whether ``other`` only continues these, so that both fold into one."""
        return (
            other.client == self.client
            and other.first == self.first + self.more + 1
            and other.position == self.position + self.more + 1
            and other.answer == self.answer
            and other.keep_until == self.keep_until
        )


@dataclass(kw_only=True, slots=True, unsafe_hash=True)
class TrailEntry:
    """One write. Nothing of it changes but ``packed``."""

    write: WriteId
    time: Instant
    requests: tuple[Answered, ...] = ()
    packed: bytes | None = field(default=None, init=False, repr=False, compare=False)
    """The write and the requests as they are stored, once they were: each of the next writes stores them again."""

    def find(self, client: int, number: int) -> tuple[Version, FirstAnswer] | None:
        """Returns the version and the answer that the request got in this write, if it was in it."""
        for each in self.requests:
            if each.client == client and each.first <= number <= each.first + each.more:
                return version_at(self.write, each.position + number - each.first), each.answer
        return None

    @property
    def size(self) -> int:
        """About how many bytes it takes in the store."""
        return _ENTRY_BYTES + _NOTE_BYTES * len(self.requests)


@frozen
class Trail:
    """The last writes of a record, newest first."""

    entries: Sequence[TrailEntry] = ()
    """Without a gap, up to the present."""
    earlier: bytes = b""
    """``SHORT_BYTES`` of each write before the entries, without a gap."""
    kept: Sequence[TrailEntry] = ()
    """Entries that a repeat wrote, beyond the limits, with gaps between them."""
    forgotten: Instant = _NEVER
    """The time of the newest entry of which the requests are not known any more. 0: nothing was forgotten."""

    def find(self, request: Request) -> tuple[Version, FirstAnswer] | None:
        """Returns the version that ``request`` made, or would have, and what it was answered, if that is remembered."""
        for entries in (self.entries, self.kept):
            for entry in entries:
                if found := entry.find(request.client, request.number):
                    return found
        return None

    def names(self, write: WriteId) -> bool:
        """Says whether ``write`` is remembered as applied."""
        return self.reaches(write) or any(entry.write == write for entry in self.kept)

    def reaches(self, write: WriteId) -> bool:
        """Says whether all writes since ``write`` are remembered, and it too."""
        if any(entry.write == write for entry in self.entries):
            return True
        short = write[:SHORT_BYTES]
        return any(
            self.earlier[start : start + SHORT_BYTES] == short for start in range(0, len(self.earlier), SHORT_BYTES)
        )

    def in_memory(self) -> "Trail":
        """Returns the trail without anything behind it from which it would be read when it is looked at."""
        return Trail(entries=tuple(self.entries), earlier=self.earlier, kept=self.kept, forgotten=self.forgotten)

    def remembers_since(self, instant: Instant) -> bool:
        """Says whether no write at or after ``instant`` was forgotten."""
        return self.forgotten < instant

    def followed_by(self, entry: TrailEntry) -> "Trail":
        """Returns the trail with ``entry`` as its newest, shortened to its limits.

        An entry goes when it is too old, or from the oldest on when there are too many or they are too large; the
        newest always stays, and so does the identifier of each of the last writes.
        """
        now = entry.time
        size = entry.size
        stay = 0
        for older in self.entries:
            size += _ENTRY_BYTES + _NOTE_BYTES * len(older.requests)
            if stay == _MAX_WRITES - 1 or size > _MAX_ENTRY_BYTES or now - older.time > _MAX_AGE:
                break
            stay += 1
        # Once one is dropped all older ones are: the entries must have no gap.
        entries, dropped = (entry, *self.entries[:stay]), self.entries[stay:]
        room = (_MAX_WRITES - len(entries)) * SHORT_BYTES
        earlier = b"".join([older.write[:SHORT_BYTES] for older in dropped]) + self.earlier if room else b""
        return Trail(
            entries=entries,
            earlier=earlier[:room],
            kept=_unexpired((*dropped, *self.kept), now),
            forgotten=max(self.forgotten, *[older.time for older in dropped]) if dropped else self.forgotten,
        )

    def room_for_repeat(self, now: Instant, beside: Sequence[Answered] = ()) -> bool:
        """Says whether one more repeat, noted ``beside`` others in a new entry, can be kept for its whole life."""
        protected = sum(entry.size for entry in _unexpired((*self.entries, *self.kept), now))
        new = _ENTRY_BYTES + _NOTE_BYTES * sum(each.keep_until > now for each in beside)
        return protected + new + _NOTE_BYTES <= KEPT_BYTES

    def shows(self, version: Version, then: Version) -> bool:
        """Says whether ``version``, which stands now, certainly stood already when ``then`` was noted.

        So it did if its write is not among those since; where the trail has a gap in between, nobody can tell.
        """
        made, noted = write_of(version), write_of(then)
        if made == noted:
            return version < then  # both in one write: in the order of their positions
        newest_first = (entry.write for entry in self.entries)
        return next((write == noted for write in newest_first if write in (made, noted)), False)


def answered(request: Request, position: int, answer: FirstAnswer, keep_until: Instant) -> Answered:
    """Returns the trail's note that ``request``, at ``position`` of a write, got ``answer``.

    ``keep_until`` is until when a repeat's note must be kept.
    """
    return Answered(
        client=request.client,
        first=request.number,
        position=position,
        answer=answer,
        keep_until=keep_until if request.repeated else _NEVER,
    )


def folded(requests: Sequence[Answered]) -> tuple[Answered, ...]:
    """Returns ``requests``, in the order of their positions, with neighbours of one client made one."""
    result: list[Answered] = []
    for each in requests:
        if result and result[-1].followed_by(each):
            result[-1] = replace(result[-1], more=result[-1].more + 1)
        else:
            result.append(each)
    return tuple(result)


def _unexpired(entries: Sequence[TrailEntry], now: Instant) -> tuple[TrailEntry, ...]:
    kept = [(entry, tuple([each for each in entry.requests if each.keep_until > now])) for entry in entries]
    return tuple([replace(entry, requests=requests) for entry, requests in kept if requests])
