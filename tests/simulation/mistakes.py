"""Mistakes that the engine does not make, to be planted in it: the simulation must find each.

Each is one that an earlier design made, or that would be easily made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from pytest import MonkeyPatch  # noqa: PT013 - a type

from keepstate_server.domain.errors import TransactionConflict
from keepstate_server.domain.records import Request, Version
from keepstate_server.domain.times import Instant
from keepstate_server.engine import (
    attempts,
    draft,
    engine,
    gathering,
    group,
    noting,
    resolver,
    sighting,
    transaction_draft,
    transactions,
    writer,
    writes,
)
from keepstate_server.engine.attempts import Verdict
from keepstate_server.engine.deadline import Deadline
from keepstate_server.engine.draft import Draft, Result, first_answer
from keepstate_server.engine.envelope import Decision, Envelope, Location
from keepstate_server.engine.group import Group
from keepstate_server.engine.hints import Hints
from keepstate_server.engine.outcomes import Outcomes
from keepstate_server.engine.resolver import Resolver
from keepstate_server.engine.sighting import Sighting
from keepstate_server.engine.staged import StagedCommit
from keepstate_server.engine.trail import FirstAnswer, Trail, TrailEntry, WriteId, version_at
from keepstate_server.engine.transaction_draft import TransactionDraft
from keepstate_server.engine.transactions import Transaction
from keepstate_server.stores import dapr_store, redis
from keepstate_server.stores.base import Absence, CompareAndSet, Fate, Outcome, Stored
from keepstate_server.stores.sidecar import StateItem

__all__ = ["MISTAKES"]


def request_not_kept_in_the_trail(patch: MonkeyPatch) -> None:
    def carry(self: Draft, *_: object) -> None:
        self._changed = True

    patch.setattr(Draft, "carry", carry)


def repeat_trusts_a_trail_too_short(patch: MonkeyPatch) -> None:
    for module in (draft, transaction_draft):
        patch.setattr(module, "remembers", lambda *_: True)


def trail_forgets_without_saying_so(patch: MonkeyPatch) -> None:
    followed_by = Trail.followed_by
    patch.setattr(Trail, "followed_by", lambda self, entry: replace(followed_by(self, entry), forgotten=self.forgotten))


def what_is_not_named_was_not_applied(patch: MonkeyPatch) -> None:
    def judge(*arguments: Any) -> Verdict:
        verdict = attempts.judge(*arguments)
        return Verdict.NOT_APPLIED if verdict is Verdict.UNKNOWN else verdict

    for module in (group, transactions):
        patch.setattr(module, "judge", judge)


def trail_counted_as_unbroken_over_a_gap(patch: MonkeyPatch) -> None:
    reaches = Trail.reaches

    def over_gaps(self: Trail, write: WriteId) -> bool:
        return reaches(self, write) or any(entry.write == write for entry in self.kept)

    patch.setattr(Trail, "reaches", over_gaps)


def refusal_of_a_repeat_not_noted(patch: MonkeyPatch) -> None:
    note = Draft._note

    def applied_only(self: Draft, request: Request, position: int, result: Result) -> None:
        if first_answer(result) is FirstAnswer.APPLIED:
            note(self, request, position, result)

    patch.setattr(Draft, "_note", applied_only)


def entry_of_a_repeat_not_kept(patch: MonkeyPatch) -> None:
    followed_by = Trail.followed_by
    patch.setattr(Trail, "followed_by", lambda self, entry: replace(followed_by(self, entry), kept=()))


def no_answered_from_a_hint(patch: MonkeyPatch) -> None:
    patch.setattr(Draft, "apply", Draft._apply)


def one_etag_for_several_operations(patch: MonkeyPatch) -> None:
    def of_the_write(write: WriteId, position: int) -> Version:
        return version_at(write, 0)

    patch.setattr(draft, "version_at", of_the_write)


def lost_reply_taken_for_a_refusal(patch: MonkeyPatch) -> None:
    for module in (dapr_store, redis):
        patch.setattr(module, "mentions_network", lambda *_: False)


def positive_ttl_with_a_compare(patch: MonkeyPatch) -> None:
    make = redis.RedisStore._item

    def expiring(self: redis.RedisStore, write: CompareAndSet) -> StateItem:
        item = make(self, write)
        if write.keep_for is None:
            return item
        return replace(item, ttl_seconds=-(-write.keep_for // timedelta(seconds=1)))

    patch.setattr(redis.RedisStore, "_item", expiring)


def tombstone_dropped_at_once(patch: MonkeyPatch) -> None:
    physical_life = writes.physical_life

    def life(envelope: Envelope, *others: Any) -> timedelta | None:
        return timedelta(seconds=1) if envelope.death_time is not None else physical_life(envelope, *others)

    patch.setattr(writes, "physical_life", life)


def dead_entries_are_forgotten(patch: MonkeyPatch) -> None:
    envelope = Draft.envelope

    def without_trail(self: Draft) -> Envelope:
        made = envelope(self)
        if made.death_time is None:
            return made
        newest: Sequence[TrailEntry] = made.trail.entries[:1]
        return replace(made, trail=Trail(entries=tuple(newest)))

    patch.setattr(Draft, "envelope", without_trail)


def no_second_look_after_single_intents(patch: MonkeyPatch) -> None:
    async def take_for_granted(self: StagedCommit, *_: object) -> Mapping[Location, Sighting]:
        return {at: Sighting(content=envelope) for at, (_, envelope) in self._writes.items()}

    patch.setattr(StagedCommit, "_look_again", take_for_granted)


def outcome_collected_too_early(patch: MonkeyPatch) -> None:
    write = Outcomes._write

    async def for_a_moment(self: Outcomes, *arguments: Any) -> Any:
        store, key, etag, data, life, limit = arguments
        return await write(self, store, key, etag, data, life and timedelta(seconds=1), limit)

    patch.setattr(Outcomes, "_write", for_a_moment)


def outcome_retired_while_intents_stand(patch: MonkeyPatch) -> None:
    async def some(self: StagedCommit, limit: Deadline) -> bool:
        return True

    patch.setattr(StagedCommit, "_replace_all", some)


def age_of_an_intent_ignored(patch: MonkeyPatch) -> None:
    decide = Outcomes.decide

    async def as_if_new(
        self: Outcomes, store: str, transaction: WriteId, wanted: Decision, _: Instant, limit: Deadline
    ) -> Any:
        return await decide(self, store, transaction, wanted, self._clock.now(), limit)

    patch.setattr(Outcomes, "decide", as_if_new)


def intents_ignored_by_readers(patch: MonkeyPatch) -> None:
    async def settle(self: Resolver, found: Mapping[Location, Sighting], deadline: Deadline) -> Any:
        now = self._clock.now()
        return {at: each.settled(Decision.ABORTED, now) if each.intent else each for at, each in found.items()}

    patch.setattr(Resolver, "settle", settle)


def first_attempt_runs_on_too_long(patch: MonkeyPatch) -> None:
    init = Deadline.__init__
    patch.setattr(Deadline, "__init__", lambda self, seconds: init(self, seconds + 600))


def refusal_of_a_transaction_in_any_record(patch: MonkeyPatch) -> None:
    first_answers, refuse = TransactionDraft.first_answers, Transaction._refuse

    def found_in_any(self: TransactionDraft, request: Request, witness: Location) -> Any:
        for at, _ in self._operations:
            found = self._sightings[at].trail(self.now, self._settings.dead_life_ms // 2).find(request)
            if found and found[1] not in (FirstAnswer.APPLIED, FirstAnswer.NOTHING_THERE):
                raise self.refusal or TransactionConflict
        return first_answers(self, request, witness)

    async def noted_in_the_last(self: Transaction, draft_: TransactionDraft, *_: object) -> None:
        last = max(self._locations)
        await refuse(self, draft_, last, self._before[last])

    patch.setattr(TransactionDraft, "first_answers", found_in_any)
    patch.setattr(Transaction, "_refuse", noted_in_the_last)


def another_programs_write_forgets_nothing(patch: MonkeyPatch) -> None:
    def as_if_alone(found: Stored | Absence, *, shared: bool) -> Sighting:
        return sighting.seen(found)

    for module in (noting, resolver, writer):
        patch.setattr(module, "seen", as_if_alone)


def hint_used_in_a_shared_store(patch: MonkeyPatch) -> None:
    patch.setattr(engine, "Hints", lambda **_: Hints(size=100, life_ms=60_000))


def failure_of_a_call_told_to_one_of_its_callers(patch: MonkeyPatch) -> None:
    ask = gathering._Writes._ask_store

    async def first_is_told_yes(self: Any, together: Any, timeout: float) -> Any:
        first, *others = await ask(self, together, timeout)
        return [[Outcome(fate=Fate.APPLIED) for _ in first], *others] if others else [first]

    patch.setattr(gathering._Writes, "_ask_store", first_is_told_yes)


def read_joined_that_had_begun(patch: MonkeyPatch) -> None:
    read = gathering.GatheringStore.read
    begun: dict[Any, asyncio.Task[Any]] = {}

    async def joined(self: gathering.GatheringStore, keys: Sequence[str], **how: Any) -> Any:
        which = (id(self), tuple(keys), how["sure"])
        if which not in begun:
            begun[which] = asyncio.ensure_future(read(self, keys, **how))
            begun[which].add_done_callback(lambda _: begun.pop(which))
        return await asyncio.shield(begun[which])

    patch.setattr(gathering.GatheringStore, "read", joined)


def who_was_told_that_nothing_was_sent_is_carried_along(patch: MonkeyPatch) -> None:
    def all_of_them(self: Group, draft_: Draft) -> Any:
        results: list[Result] = []
        for part in self.parts:
            draft_.answer_within(part.room)
            results += [draft_.apply(each, len(results) + at) for at, each in enumerate(part.operations)]
        return self.parts, results

    patch.setattr(Group, "_apply", all_of_them)
    patch.setattr(Group, "may_send", True)


def answers_of_several_callers_mixed_up(patch: MonkeyPatch) -> None:
    share_out = group._share_out
    patch.setattr(group, "_share_out", lambda results, parts: share_out(results, [*parts[1:], *parts[:1]]))


MISTAKES: Mapping[str, Callable[[MonkeyPatch], None]] = {
    mistake.__name__: mistake
    for mistake in (
        request_not_kept_in_the_trail,
        repeat_trusts_a_trail_too_short,
        trail_forgets_without_saying_so,
        what_is_not_named_was_not_applied,
        trail_counted_as_unbroken_over_a_gap,
        refusal_of_a_repeat_not_noted,
        entry_of_a_repeat_not_kept,
        no_answered_from_a_hint,
        one_etag_for_several_operations,
        lost_reply_taken_for_a_refusal,
        positive_ttl_with_a_compare,
        tombstone_dropped_at_once,
        dead_entries_are_forgotten,
        no_second_look_after_single_intents,
        outcome_collected_too_early,
        outcome_retired_while_intents_stand,
        age_of_an_intent_ignored,
        intents_ignored_by_readers,
        first_attempt_runs_on_too_long,
        refusal_of_a_transaction_in_any_record,
        another_programs_write_forgets_nothing,
        hint_used_in_a_shared_store,
        failure_of_a_call_told_to_one_of_its_callers,
        read_joined_that_had_begun,
        who_was_told_that_nothing_was_sent_is_carried_along,
        answers_of_several_callers_mixed_up,
    )
}
