"""What a read says of a compare-and-set whose reply was lost: directed schedules on a record's history."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from keepstate_server.domain.operations import Delete, Put
from keepstate_server.domain.records import Request
from keepstate_server.domain.times import Instant
from keepstate_server.engine.attempts import Attempt, Verdict, judge
from keepstate_server.engine.draft import Draft
from keepstate_server.engine.envelope import tombstone
from keepstate_server.engine.sighting import NOTHING, Sighting, seen
from keepstate_server.engine.trail import WRITE_BYTES, WriteId
from keepstate_server.stores.base import Absence, Stored, StoreEtag
from tests.unit.server.cases import name
from tests.unit.server.hand import MINUTE, SECOND, SETTINGS, HandClock, Requests, again, chance


@dataclass
class History:
    """One record, as writes in order leave it."""

    clock: HandClock = field(default_factory=HandClock)
    sighting: Sighting = NOTHING
    count: int = 0

    def attempt(self) -> Attempt:
        """Sends a write upon what stands now."""
        return Attempt(
            write=self.new(), base=self.sighting.base, etag=self.sighting.etag, sent_at=self.clock.now(), results=()
        )

    def new(self) -> WriteId:
        self.count += 1
        return WriteId(chance(self.count).randbytes(WRITE_BYTES))

    def write(self, *, write: WriteId | None = None, delete: bool = False, request: Request | None = None) -> None:
        """Has a write arrive."""
        now = self.clock.now()
        draft = Draft(self.sighting, write=write or self.new(), now=now, settings=SETTINGS)
        draft.apply(Delete(name=name(), request=request) if delete else Put(name=name(), value=b"v"), 0)
        self.sighting = Sighting(etag=StoreEtag("1"), content=draft.envelope())

    def verdict(self, attempt: Attempt) -> Verdict:
        return judge(attempt, self.sighting, self.clock.now(), SETTINGS)


@pytest.fixture
def history() -> History:
    return History()


@pytest.mark.parametrize("writes_before", [0, 1, 40])
def test_an_attempt_that_is_the_newest_write_was_applied(history: History, writes_before: int) -> None:
    for _ in range(writes_before):
        history.write()
    attempt = history.attempt()
    history.write(write=attempt.write)
    assert history.verdict(attempt) is Verdict.APPLIED


@pytest.mark.parametrize("others", [1, 14, 15])
def test_an_attempt_that_others_wrote_after_was_applied(history: History, others: int) -> None:
    attempt = history.attempt()
    history.write(write=attempt.write)
    for _ in range(others):
        history.write()
    assert history.verdict(attempt) is Verdict.APPLIED


def test_an_attempt_is_named_though_it_is_too_old_to_be_remembered(history: History) -> None:
    attempt = history.attempt()
    history.write(write=attempt.write)
    for _ in range(15):
        history.clock.advance(11 * MINUTE)
        history.write()
    assert history.verdict(attempt) is Verdict.APPLIED


@pytest.mark.parametrize("writes_before", [0, 3])
def test_while_its_ground_stands_an_attempt_was_not_applied_but_may_yet_be(
    history: History, writes_before: int
) -> None:
    for _ in range(writes_before):
        history.write()
    attempt = history.attempt()
    history.clock.advance(10 * MINUTE)
    assert history.verdict(attempt) is Verdict.NOT_APPLIED
    assert attempt.may_yet_arrive(history.sighting)


def test_a_late_attempt_is_applied_once_it_arrived(history: History) -> None:
    history.write()
    attempt = history.attempt()
    assert history.verdict(attempt) is Verdict.NOT_APPLIED
    history.clock.advance(25 * SECOND)
    history.write(write=attempt.write)
    assert history.verdict(attempt) is Verdict.APPLIED


@pytest.mark.parametrize("others", [1, 15])
def test_an_attempt_whose_ground_is_still_named_was_overwritten_for_good(history: History, others: int) -> None:
    history.write()
    attempt = history.attempt()
    for _ in range(others):
        history.write()
    assert history.verdict(attempt) is Verdict.NOT_APPLIED
    assert not attempt.may_yet_arrive(history.sighting)


def test_where_the_trail_overflowed_since_the_sending_nobody_knows(history: History) -> None:
    history.write()
    attempt = history.attempt()
    for _ in range(16):
        history.write()
    assert history.verdict(attempt) is Verdict.UNKNOWN
    # Nor if it was applied: its name went the same way.
    history = History()
    history.write()
    attempt = history.attempt()
    history.write(write=attempt.write)
    for _ in range(16):
        history.write()
    assert history.verdict(attempt) is Verdict.UNKNOWN


def test_what_was_forgotten_long_before_the_sending_does_not_matter(history: History) -> None:
    for _ in range(40):
        history.write()
    history.clock.advance(MINUTE)
    attempt = replace(history.attempt(), base=WriteId(b"never existed."))
    history.write()
    assert history.verdict(attempt) is Verdict.NOT_APPLIED


@pytest.mark.parametrize(("before", "verdict"), [(10_001, Verdict.NOT_APPLIED), (10_000, Verdict.UNKNOWN)])
def test_the_margin_is_twice_the_clocks_difference(history: History, before: int, verdict: Verdict) -> None:
    """The forgotten write was timed by another instance's clock, and so may have been later than it says."""
    for _ in range(17):
        history.write()
    history.clock.advance(before)
    attempt = replace(history.attempt(), base=WriteId(b"never existed."))
    assert history.verdict(attempt) is verdict


def test_a_creation_that_others_preceded_was_not_applied(history: History) -> None:
    attempt = history.attempt()
    history.write()
    assert attempt.base is None
    assert history.verdict(attempt) is Verdict.NOT_APPLIED
    assert not attempt.may_yet_arrive(history.sighting)


def test_a_creation_is_found_in_the_record_that_died_and_lives_again(history: History) -> None:
    attempt = history.attempt()
    history.write(write=attempt.write)
    history.write(delete=True)
    assert history.verdict(attempt) is Verdict.APPLIED
    history.write()
    assert history.verdict(attempt) is Verdict.APPLIED


def test_a_write_upon_a_life_that_ended_and_began_again_was_not_applied(history: History) -> None:
    history.write()
    attempt = history.attempt()
    history.write(delete=True)
    history.write()
    assert history.verdict(attempt) is Verdict.NOT_APPLIED


def test_a_repeat_that_is_kept_beyond_the_overflow_is_still_named(history: History) -> None:
    history.write()
    attempt = history.attempt()
    history.write(write=attempt.write, delete=True, request=again(Requests(history.clock).new()))
    for _ in range(20):
        history.write()
    assert history.verdict(attempt) is Verdict.APPLIED


def test_a_creation_may_yet_arrive_where_there_is_nothing(history: History) -> None:
    attempt = history.attempt()
    assert history.verdict(attempt) is Verdict.NOT_APPLIED
    assert attempt.may_yet_arrive(NOTHING)


def test_of_a_long_gone_sending_an_absence_tells_nothing(history: History) -> None:
    history.write()
    attempt = history.attempt()
    history.clock.advance(SETTINGS.dead_life_ms // 2)
    history.sighting = NOTHING
    assert history.verdict(attempt) is Verdict.UNKNOWN


def test_a_write_upon_another_programs_value_is_judged_by_what_follows_it(history: History) -> None:
    history.sighting = seen(Stored(data=b"raw", etag=StoreEtag("3")))
    attempt = history.attempt()
    assert attempt.may_yet_arrive(history.sighting)
    history.write()
    assert history.verdict(attempt) is Verdict.NOT_APPLIED
    assert not attempt.may_yet_arrive(history.sighting)


def test_a_write_upon_another_programs_value_that_was_applied_is_found(history: History) -> None:
    history.sighting = seen(Stored(data=b"raw", etag=StoreEtag("3")))
    attempt = history.attempt()
    history.write(write=attempt.write)
    assert history.verdict(attempt) is Verdict.APPLIED


def test_nothing_that_never_was_is_found_in_a_tombstone_that_was_made_for_adoption(history: History) -> None:
    attempt = history.attempt()
    made = Stored(data=tombstone(history.new(), history.clock.now()), etag=StoreEtag("1"))
    history.sighting = seen(made)
    assert history.verdict(attempt) is Verdict.NOT_APPLIED
    assert not attempt.may_yet_arrive(history.sighting)


def test_a_likely_absence_names_nothing(history: History) -> None:
    attempt = history.attempt()
    assert judge(attempt, seen(Absence.LIKELY), Instant(history.clock.now()), SETTINGS) is Verdict.NOT_APPLIED
