"""Sessions that live while they are used, and drafts of forms."""

from __future__ import annotations

__all__ = ["FormDrafts", "Sessions"]

import secrets
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from keepstate import State, Transaction
from keepstate.recipes.json_read import JsonRead
from keepstate.recipes.records import Id, Records

_RANDOM_BYTES = 32
_TRIES = 100  # requests of one session that change it at the same time overtake each other; time is up before that


class Sessions:
    """Sessions: a JSON object each, under ``<prefix>:<id>``, until nobody has read or changed it for ``ttl``.

    ::

        sessions = Sessions(state, "session", "auth")
        session_id = await sessions.create({"user": "ada"})
        data = await sessions.get(session_id)  # None: there is no such session, or no more
        await sessions.update(session_id, {"theme": "dark"})
        session_id = await sessions.rotate(session_id)  # at a login

    Who knows an id has the session: it belongs into a cookie, and neither into an address nor into a log.
    """

    def __init__(self, state: State[Any], *prefix: Id, ttl: timedelta = timedelta(hours=1)) -> None:
        """Keep them in this view, as JSON whatever its codec.

        Args:
            prefix: the parts of a key before the id, at least one.
            ttl: how long a session lives after its last use.

        Raises:
            ValueError: there is no prefix, a part of it is empty, or ``ttl`` is not positive.
            TypeError: ``ttl`` is no timedelta.
        """
        self._state: State[dict[str, Any]] = state.using(_SESSION)
        self._records = Records(self._state, *prefix, ttl=ttl, sliding=True)
        self._ttl = ttl

    @property
    def ttl(self) -> timedelta:
        """How long a session lives after its last use."""
        return self._ttl

    def key(self, session_id: Id) -> str:
        """The key of a session.

        Raises:
            TypeError, ValueError: the id is none, see ``keepstate.key``.
        """
        return self._records.key(session_id)

    async def create(self, data: Mapping[str, Any]) -> str:
        """Begin a session and return its id: 43 letters, digits, ``-`` and ``_``, of 256 random bits."""
        session_id = secrets.token_urlsafe(_RANDOM_BYTES)
        await self._state.put(self.key(session_id), dict(data), if_absent=True, ttl=self._ttl)
        return session_id

    async def get(self, session_id: Id) -> dict[str, Any] | None:
        """Read a session's data, and let it live on. None: there is no such session.

        Raises:
            ValueError: the id can be no part of a key, see ``keepstate.key``: none that ``create`` returned is so.
            DecodeError: what is kept there is no JSON object.
        """
        return await self._records.get(session_id)

    async def update(
        self, session_id: Id, changes: Mapping[str, Any], *, remove: Iterable[str] = ()
    ) -> dict[str, Any] | None:
        """Set members of a session's data, each as a whole, remove others, and return the data that this left.

        What others change at the same time stays, unless it is the same member: then the last one stays.

        Returns:
            None: there is no such session. One that has ended does not begin again.

        Raises:
            TypeError: ``remove`` is a text, which would be taken apart.
        """
        return await self._change(session_id, session_id, changes, remove)

    async def rotate(
        self, session_id: Id, changes: Mapping[str, Any] | None = None, *, remove: Iterable[str] = ()
    ) -> str | None:
        """Give a session a new id, and change it as ``update`` does. The old id is no session any more.

        That belongs to a login: who had a visitor take an id that he knows does not get what is the user's.

        Returns:
            The new id. None: there is no such session.
        """
        new_id = secrets.token_urlsafe(_RANDOM_BYTES)
        left = await self._change(session_id, new_id, changes or {}, remove)
        return None if left is None else new_id

    async def end(self, session_id: Id) -> bool:
        """End a session. False: there was none."""
        return await self._records.delete(session_id)

    async def _change(
        self, old: Id, new: Id, changes: Mapping[str, Any], remove: Iterable[str]
    ) -> dict[str, Any] | None:
        if isinstance(remove, str):
            raise TypeError("remove must be a list of names, not a str")
        removed = frozenset(remove)

        async def change(tx: Transaction[Any]) -> dict[str, Any] | None:
            data = await tx.get(self.key(old))
            if data is None:
                return None
            left = {name: value for name, value in {**data, **changes}.items() if name not in removed}
            if new != old:
                tx.delete(self.key(old))
            tx.put(self.key(new), left, ttl=self._ttl)
            return left

        return await self._state.transaction(change, tries=_TRIES)


class FormDrafts(Records[dict[str, Any]]):
    """What people have filled in of forms so far: a JSON object each, under ``<prefix>:<identifier>``.

    ::

        drafts = FormDrafts(state, "draft", "signup")
        await drafts.save("ada", {"name": "Ada"})
        await drafts.save("ada", {"city": "London"})
        assert await drafts.get("ada") == {"name": "Ada", "city": "London"}

    A draft ends when nobody has read or saved it for ``ttl``. ``put`` replaces it as a whole.
    """

    def __init__(self, state: State[Any], *prefix: Id, ttl: timedelta = timedelta(days=1)) -> None:
        """Keep them in this view, whose codec is JSON.

        Args:
            prefix: the parts of a key before the identifier, at least one.
            ttl: how long a draft lives after its last use.

        Raises:
            ValueError: there is no prefix, a part of it is empty, or ``ttl`` is not positive.
            TypeError: ``ttl`` is no timedelta.
        """
        super().__init__(state, *prefix, ttl=ttl, sliding=True)

    async def save(self, identifier: Id, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Add fields to a draft, which begins with the first, and return the draft. None as a value removes a field.

        It is a JSON merge patch: objects within are merged, too, and two that save different fields lose nothing.

        Raises:
            UpdateNotApplicable: what is kept there is no JSON.
        """
        saved: dict[str, Any] = await self._state.merge_patch(self.key(identifier), dict(fields), ttl=self._ttl)
        return saved


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("a session is a JSON object")
    return value


_SESSION = JsonRead(reading=_object)
