"""What one caller asks of one key, and what it is told."""

import asyncio
from collections.abc import Callable, Sequence

from keepstate_server.domain.errors import KeepstateError
from keepstate_server.domain.operations import Append, Get, MergePatch, Operation, Put, Update
from keepstate_server.engine.deadline import Deadline
from keepstate_server.engine.draft import Result
from keepstate_server.engine.room import Room

__all__ = ["Part", "reads_only"]


def reads_only(operation: Operation) -> bool:
    """Says whether ``operation`` can write nothing."""
    return isinstance(operation, Get) and operation.slide_to is None


class Part:
    """Operations of one caller on one key in the order asked, with the caller's time and answer."""

    def __init__(
        self, key: str, operations: Sequence[Operation], deadline: Deadline, *, room: Room | None = None
    ) -> None:
        """Begins untold; ``room`` is what updates may take of the answer, shared with the caller's other parts."""
        self.key = key
        self.operations = tuple(operations)
        self.deadline = deadline
        self.results: Sequence[Result] | None = None
        self.told: asyncio.Future[None] | None = None
        """Is done when there are results, where somebody waits for that."""
        self.give_up: Callable[[Part], None] | None = None
        """Set by who carries it along with others' parts: answers it when its time is up."""
        self.bytes_seen = 0
        """How large the value was that was read last."""
        self._room = room or Room()
        self._held = 0  # of the room, by the attempts so far: any of them may become the answer

    @property
    def reads_only(self) -> bool:
        """Whether nothing can be written."""
        return all(map(reads_only, self.operations))

    @property
    def brings(self) -> int:
        """How many bytes it brings."""
        return sum(map(_brought, self.operations))

    @property
    def size(self) -> int:
        """How large the record's value is, as far as it was seen; 0: nothing was."""
        return max([self.bytes_seen, *(len(each.value) for each in self.operations if isinstance(each, Put))])

    @property
    def room(self) -> Room:
        """What the next attempt may take of the answer."""
        return Room(self._room.left + self._held)

    def hold(self, room: Room) -> None:
        """Takes what an attempt used of ``room`` and is not held yet."""
        more = max(self._room.left - room.left, 0)
        self._room.left -= more
        self._held += more

    def tell(self, results: Sequence[Result]) -> None:
        """Gives the answer, unless there is one."""
        if self.results is None:
            self.results = results
            if self.told is not None and not self.told.done():
                self.told.set_result(None)

    def fail(self, error: KeepstateError) -> None:
        """Gives every operation the same answer, unless there is one."""
        self.tell([error] * len(self.operations))


def _brought(operation: Operation) -> int:
    match operation:
        case Put():
            return len(operation.value)
        case Update(change=Append() as append):
            return sum(map(len, append.items))
        case Update(change=MergePatch() as merge):
            return len(merge.patch)
        case _:
            return 0
