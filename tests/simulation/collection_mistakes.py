"""Mistakes in collecting, planted into the engine, which the simulation must find."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from pytest import MonkeyPatch  # noqa: PT013 - a type

from keepstate_server.domain.times import Instant
from keepstate_server.engine import collector, death, journal, noting, staged, transactions, writer
from keepstate_server.engine.collector import Collector
from keepstate_server.engine.deadline import Deadline
from keepstate_server.engine.envelope import Envelope, Location
from keepstate_server.engine.group import Group
from keepstate_server.engine.hints import Hints
from keepstate_server.engine.noting import Noting
from keepstate_server.engine.resolver import Resolver
from keepstate_server.engine.settings import EngineSettings
from keepstate_server.engine.sighting import Sighting
from keepstate_server.engine.writer import Writer
from keepstate_server.stores.base import Fate, Outcome, StateStore

__all__ = ["COLLECTION_MISTAKES"]


def old_hints(patch: MonkeyPatch) -> None:
    get = Hints.get

    def of_any_age(self: Hints, scope: str, key: str, now: Instant) -> Sighting | None:
        return get(self, scope, key, Instant(0))

    patch.setattr(Hints, "get", of_any_age)


def last_moments_without_taking_the_note(patch: MonkeyPatch) -> None:
    patch.setattr(Noting, "collects", lambda *_: False)


def not_read_again_in_last_moments(patch: MonkeyPatch) -> None:
    """As it was at first: a note, or a journal without one, was taken to show that the record still stands."""
    patch.setattr(noting, "_stands", lambda *_, **__: True)
    # The writer rests on hints as ever, what is to be written does not go without its note.
    patch.setattr(Writer, "_use_hints", _use_hints)


def _use_hints(self: Writer, groups: Sequence[Group]) -> None:
    for group in groups:
        if not group.must_read:
            group.sighting = self._hints.get(self._store.scope, group.key, self._clock.now())


def second_delete_too_early(patch: MonkeyPatch) -> None:
    patch.setattr(Collector, "_when", lambda self, note: note.due)


def two_collectors_of_one_record(patch: MonkeyPatch) -> None:
    """What another has marked meanwhile is deleted all the same."""

    async def as_if_alone(*arguments: Any) -> Outcome:
        outcome = await journal.write_journal(*arguments)
        return replace(outcome, fate=Fate.APPLIED) if outcome.fate is Fate.REFUSED else outcome

    patch.setattr(collector, "write_journal", as_if_alone)


def records_of_other_journals_collected(patch: MonkeyPatch) -> None:
    end = Collector._end

    def of_any(self: Collector, store: StateStore, name: bytes, sighting: Sighting) -> Instant | None:
        content = sighting.content
        return end(self, store, content.journal if isinstance(content, Envelope) else name, sighting)

    patch.setattr(Collector, "_end", of_any)


def collected_when_its_note_says_so(patch: MonkeyPatch) -> None:
    """A record that was touched since it was noted is not asked when it dies now."""
    end = Collector._end

    def at_once(self: Collector, store: StateStore, name: bytes, sighting: Sighting) -> Instant | None:
        return None if end(self, store, name, sighting) is None else Instant(0)

    patch.setattr(Collector, "_end", at_once)


def committed_intent_collected(patch: MonkeyPatch) -> None:
    """A record with an intent is judged by what stands there."""
    judge = Collector._judge

    async def blindly(self: Collector, *arguments: Any) -> None:
        resolver = self._resolver
        self._resolver = _Blind(resolver)  # type: ignore[assignment]
        try:
            await judge(self, *arguments)
        finally:
            self._resolver = resolver

    patch.setattr(Collector, "_judge", blindly)


class _Blind:
    """Sees no intents."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def look(self, locations: Sequence[Location], limit: Deadline) -> Mapping[Location, Sighting] | None:
        found = await self._resolver.look(locations, limit)
        return found and {at: _without_intent(sighting) for at, sighting in found.items()}


def _without_intent(sighting: Sighting) -> Sighting:
    content = sighting.content
    return replace(sighting, content=replace(content, intent=None)) if isinstance(content, Envelope) else sighting


def dead_life_counted_from_death_alone(patch: MonkeyPatch) -> None:
    def from_death(envelope: Envelope, settings: EngineSettings) -> Instant | None:
        ends = [each for each in (envelope.death_time, envelope.expire_time) if each is not None]
        return Instant(max(ends) + settings.dead_life_ms) if ends else None

    for module in (death, collector):
        patch.setattr(module, "collectable_at", from_death)


def plan_sent_however_old(patch: MonkeyPatch) -> None:
    for module in (writer, staged, transactions):
        patch.setattr(module, "STALE", 10**9)


def noted_after_the_record(patch: MonkeyPatch) -> None:
    note = Noting._note

    async def later(self: Noting, dues: Mapping[str, Instant], limit: Deadline) -> bytes | None:
        current = self._current
        if current is None or not current.listed:
            return await note(self, dues, limit)
        _afterwards(self, lambda: note(self, dues, Deadline(10.0)))
        return current.name

    patch.setattr(Noting, "_note", later)
    _run_afterwards(patch)


def journal_used_before_it_is_listed(patch: MonkeyPatch) -> None:
    look = Noting._open_journal

    async def open_journal(self: Noting, *arguments: Any) -> Any:
        async def later(store: StateStore, limit: Deadline, *, add: bytes) -> bool:
            _afterwards(self, lambda: journal.relist(store, Deadline(10.0), add=add))
            return True

        with patch.context() as inner:
            inner.setattr(noting, "relist", later)
            return await look(self, *arguments)

    patch.setattr(Noting, "_open_journal", open_journal)
    _run_afterwards(patch)


_LATER: WeakKeyDictionary[Noting, list[Callable[[], Awaitable[object]]]] = WeakKeyDictionary()


def _afterwards(where: Noting, what: Callable[[], Awaitable[object]]) -> None:
    _LATER.setdefault(where, []).append(what)


def _run_afterwards(patch: MonkeyPatch) -> None:
    """Has what was put off happen when the writer has written, unless its instance dies before."""
    run = Writer.run

    async def run_and_then(self: Writer, *arguments: Any) -> None:
        await run(self, *arguments)
        for each in _LATER.pop(self._noting, ()):
            await each()

    patch.setattr(Writer, "run", run_and_then)


COLLECTION_MISTAKES: Mapping[str, Callable[[MonkeyPatch], None]] = {
    mistake.__name__: mistake
    for mistake in (
        old_hints,
        last_moments_without_taking_the_note,
        not_read_again_in_last_moments,
        second_delete_too_early,
        two_collectors_of_one_record,
        records_of_other_journals_collected,
        collected_when_its_note_says_so,
        committed_intent_collected,
        dead_life_counted_from_death_alone,
        plan_sent_however_old,
        noted_after_the_record,
        journal_used_before_it_is_listed,
    )
}
