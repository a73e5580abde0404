"""Counts of one kind."""

from __future__ import annotations

__all__ = ["Counters"]

from collections.abc import Iterable
from typing import Any

from keepstate import State, Transaction
from keepstate.recipes.json_read import WHOLE_NUMBERS
from keepstate.recipes.records import Id, Records


class Counters:
    """Whole numbers that many change at once, e.g. the messages of each user, under ``<prefix>:<identifier>``.

    ::

        messages = Counters(state, "count")
        await messages.increment("alice")
        assert await messages.read("charlie") is None
    """

    def __init__(self, state: State[Any], *prefix: Id) -> None:
        """Keep them in this view.

        Args:
            prefix: the parts of a key before the identifier, at least one.

        Raises:
            ValueError: there is no prefix, or a part of it is empty.
        """
        self._state = state
        self._records = Records(state.using(WHOLE_NUMBERS), *prefix)

    def key(self, identifier: Id) -> str:
        """The key of a count.

        Raises:
            TypeError, ValueError: the identifier is none, see ``keepstate.key``.
        """
        return self._records.key(identifier)

    async def increment(self, identifier: Id, by: int = 1) -> int:
        """Add to a count, which begins at 0, and return it.

        It is added once, also where the answer was lost and the client asked again. What is returned then may hold what
        others have added since: do not give it out as a number that nobody else has.

        Args:
            by: may be negative.

        Raises:
            UpdateNotApplicable: something else is there than a whole number, or the sum needs more than 64 bits.
            NotFound: it was added, and the count was deleted before that was told.
        """
        return await self._state.increment(self.key(identifier), by)

    def increment_in(self, tx: Transaction[Any], identifier: Id, by: int = 1) -> None:
        """Have a transaction add to a count, with all else that it writes. Once in a transaction for each count."""
        self._state.within(tx).increment(self.key(identifier), by)

    async def read(self, identifier: Id) -> int | None:
        """Read a count. None: nothing was ever added to it, which is not 0.

        Raises:
            DecodeError: something else is there than a whole number.
        """
        return await self._records.get(identifier)

    async def read_many(self, identifiers: Iterable[Id]) -> tuple[dict[Id, int], list[Id]]:
        """Read any number of counts at a time.

        Returns:
            The counts that there are, and the identifiers that have none, both in the order asked.

        Raises:
            PartialFailure: some could not be read, by key.
        """
        return await self._records.get_many(identifiers)

    async def delete(self, identifier: Id) -> bool:
        """Delete a count: the next begins at 0. False: there was none."""
        return await self._records.delete(identifier)
