"""The operations of one call, and what they are answered."""

from collections.abc import Mapping, Sequence

from keepstate_server.domain.errors import UnsupportedByStore
from keepstate_server.domain.names import stored_key
from keepstate_server.domain.operations import Found, Operation
from keepstate_server.engine.draft import Result
from keepstate_server.engine.part import reads_only
from keepstate_server.engine.room import Room, too_much
from keepstate_server.stores.base import StateStore

__all__ = ["Batch"]


class Batch:
    """Operations that are answered together, and how much their answer may still carry."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        """Begins without results."""
        self.operations = operations
        self.results: list[Result | None] = [None] * len(operations)
        self.room = Room()

    def possible(self, indexes: Sequence[int], store: StateStore) -> Sequence[int]:
        """Returns those that can be performed on ``store``; refuses writes on one that is only read."""
        if (lack := store.lack) is None:
            return indexes
        for index in indexes:
            if not reads_only(self.operations[index]):
                self.results[index] = UnsupportedByStore(store.name, lack.capability, lack.explanation)
        return [index for index in indexes if self.results[index] is None]

    def by_key(self, indexes: Sequence[int]) -> Mapping[str, Sequence[int]]:
        """Returns the operations, which are all of one store, by the key that they are on."""
        found: dict[str, list[int]] = {}
        for index in indexes:
            name = self.operations[index].name
            found.setdefault(stored_key(name.namespace, name.key), []).append(index)
        return found

    def take(self, indexes: Sequence[int], results: Sequence[Result]) -> None:
        """Fills in results, those that were read only as far as there is room. Updates took theirs before they ran."""
        for index, result in zip(indexes, results, strict=True):
            self.results[index] = result
            # A single read always has room: a value is smaller than a message.
            if isinstance(result, Found) and len(self.operations) > 1 and not self.room.take(len(result.record.value)):
                self.results[index] = too_much()
