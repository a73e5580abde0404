from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from keepstate_server.domain.times import Instant, in_milliseconds
from keepstate_server.engine.death import STALE, collectable_at, in_last_moments, look_at
from keepstate_server.engine.envelope import Envelope, Intent, Location
from keepstate_server.engine.trail import WriteId
from tests.unit.server.drafts import envelope
from tests.unit.server.hand import MINUTE, SECOND, SETTINGS, START

DEAD_LIFE = SETTINGS.dead_life_ms
DIFFERENCE = SETTINGS.clock_difference_ms
DELAY = in_milliseconds(SETTINGS.longest_delay)

TIMES = st.integers(START - 30 * MINUTE, START + 30 * MINUTE).map(Instant)
ENVELOPES = st.builds(
    lambda died, expires, written: replace(envelope(died=died, expire=expires), write_time=written),
    st.none() | TIMES,
    st.none() | TIMES,
    TIMES,
)


def staged(before: Envelope, becomes: Envelope | None, *, time: Instant = START) -> Envelope:
    intent = Intent(
        transaction=WriteId(b"a transaction."),
        time=time,
        outcome_store="model",
        isolated=True,
        records=(Location("model", "k"),),
        becomes=becomes,
    )
    return replace(before, intent=intent)


def test_a_record_that_lives_for_ever_is_never_collected() -> None:
    assert collectable_at(envelope(), SETTINGS) is None
    assert look_at(envelope(), SETTINGS) is None
    assert not in_last_moments(envelope(), Instant(START + 10**12), SETTINGS)


@given(ENVELOPES)
def test_a_dead_life_counts_from_death_expiry_and_the_last_write(one: Envelope) -> None:
    at = collectable_at(one, SETTINGS)
    if at is None:
        assert one.death_time is None
        assert one.expire_time is None
    else:
        times = (one.death_time, one.expire_time, one.write_time)
        assert at == max(each for each in times if each is not None) + DEAD_LIFE


@given(ENVELOPES, st.none() | ENVELOPES)
def test_a_record_with_an_intent_is_looked_at_as_soon_as_what_it_is_or_becomes(
    before: Envelope, becomes: Envelope | None
) -> None:
    alone = [look_at(each, SETTINGS) for each in (before, becomes) if each]
    assert look_at(staged(before, becomes), SETTINGS) == min((each for each in alone if each), default=None)


@given(ENVELOPES, ENVELOPES, TIMES)
def test_a_record_with_an_intent_has_no_last_moments(before: Envelope, becomes: Envelope, now: Instant) -> None:
    assert not in_last_moments(staged(before, becomes), now, SETTINGS)


@given(ENVELOPES, st.integers(-2 * DELAY, 2 * DELAY), st.integers(-DIFFERENCE, DIFFERENCE))
def test_what_is_sent_before_the_last_moments_arrives_before_any_collector_deletes(
    one: Envelope, offset: int, difference: int
) -> None:
    due = look_at(one, SETTINGS)
    if due is None:
        return
    now = Instant(due - DELAY + offset)
    if not in_last_moments(one, now, SETTINGS):
        arrives = now + STALE + DELAY
        assert arrives + difference < due


def test_the_last_moments_begin_when_what_is_sent_may_arrive_too_late() -> None:
    dead = envelope(died=START)
    begin = START + DEAD_LIFE - 46 * SECOND
    assert not in_last_moments(dead, Instant(begin - 1), SETTINGS)
    assert in_last_moments(dead, Instant(begin), SETTINGS)
    assert in_last_moments(dead, Instant(begin + DEAD_LIFE), SETTINGS)
