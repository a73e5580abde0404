"""Records of one kind."""

from __future__ import annotations

__all__ = ["Id", "Records"]

from collections.abc import Iterable
from datetime import timedelta
from typing import Generic, TypeAlias, TypeVar
from uuid import UUID

from keepstate import State, key
from keepstate.recipes.lengths import must_be_positive

V = TypeVar("V")

Id: TypeAlias = str | int | UUID
"""What tells one record of a kind from the others. It is escaped: no identifier can be taken for another."""


class Records(Generic[V]):
    """Records of one kind, e.g. users: under ``<prefix>:<identifier>``, all with the same time to live.

    ::

        users = Records(state.using(Model(User)), "user", ttl=timedelta(days=30))
        await users.put(7, User(name="Ada"))
        found, missing = await users.get_many([7, 8])
    """

    def __init__(self, state: State[V], *prefix: Id, ttl: timedelta | None = None, sliding: bool = False) -> None:
        """Keep them in this view.

        Args:
            prefix: the parts of a key before the identifier, at least one.
            ttl: how long a record lives after it was put, more than nothing. None: for ever.
            sliding: whether a read moves the expiry, too.

        Raises:
            ValueError: there is no prefix, a part of it is empty, ``ttl`` is not positive, or ``sliding`` has none.
            TypeError: ``ttl`` is no timedelta.
        """
        key(*prefix)  # raises here, rather than at each call
        if ttl is not None:
            must_be_positive(ttl=ttl)
        if sliding and ttl is None:
            raise ValueError("sliding needs a ttl")
        self._state = state
        self._prefix = prefix
        self._ttl = ttl
        self._slide = ttl if sliding else None

    def key(self, identifier: Id) -> str:
        """The key of a record.

        Raises:
            TypeError, ValueError: the identifier is none, see ``keepstate.key``.
        """
        return key(*self._prefix, identifier)

    async def get(self, identifier: Id) -> V | None:
        """Read a value. None: there is none."""
        return await self._state.get(self.key(identifier), slide_ttl=self._slide)

    async def get_many(self, identifiers: Iterable[Id]) -> tuple[dict[Id, V], list[Id]]:
        """Read any number of values at a time. Their expiry is not moved.

        Returns:
            The values that there are, and the identifiers that have none, both in the order asked.

        Raises:
            PartialFailure: some could not be read, by key.
        """
        keys = {identifier: self.key(identifier) for identifier in identifiers}
        values = await self._state.get_many(keys.values())
        found = {identifier: values[name] for identifier, name in keys.items() if name in values}
        return found, [identifier for identifier in keys if identifier not in found]

    async def put(self, identifier: Id, value: V) -> None:
        """Keep a value, whatever there was. Its time to live begins anew."""
        await self._state.put(self.key(identifier), value, ttl=self._ttl)

    async def delete(self, identifier: Id) -> bool:
        """Delete a record. False: there was none."""
        return await self._state.delete(self.key(identifier))
