package io.github.keepstate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The service's clock as the client tells it. */
class ServiceClockTest implements Time {
  private static final Instant START = Instant.parse("2026-01-01T00:00:00Z");

  private final ServiceClock clock = new ServiceClock(this);
  private Duration passed = Duration.ZERO;
  private Duration offset = Duration.ofDays(300);
  private Duration wallAhead = Duration.ZERO;

  @Override
  public long nanos() {
    return passed.toNanos();
  }

  @Override
  public Instant wall() {
    return START.plus(passed).plus(wallAhead);
  }

  @Override
  public void sleep(long nanos, CountDownLatch unless) {
    throw new AssertionError("no clock sleeps");
  }

  private void call(long thereMillis, long backMillis) {
    final long sent = nanos();
    passed = passed.plusMillis(thereMillis);
    String stamp = START.plus(passed).plus(offset).truncatedTo(ChronoUnit.MILLIS).toString();
    passed = passed.plusMillis(backMillis);
    clock.observe(stamp, sent, nanos());
  }

  private long errorMillis() {
    return Duration.between(START.plus(passed).plus(offset), clock.now()).abs().toMillis();
  }

  @Test
  void beforeTheFirstAnswerTheLocalClockServes() {
    assertFalse(clock.known());
    assertEquals(wall(), clock.now());
  }

  @Test
  void theEstimateIsWrongByNoMoreThanHalfARoundTrip() {
    for (long there = 0; there < 2000; there += 333) {
      for (long back = 0; back < 2000; back += 333) {
        offset = offset.plusSeconds(10);
        call(there, back);
        assertTrue(errorMillis() <= (there + back) / 2 + 2, there + " and " + back);
      }
    }
  }

  @Test
  void aSlowAnswerDoesNotSpoilWhatAQuickOneTold() {
    call(1, 1);
    call(0, 4000);
    assertTrue(errorMillis() < 8, "" + errorMillis());
  }

  @Test
  void anOldSampleMakesRoomForANewOne() {
    call(1, 1);
    passed = passed.plusHours(1);
    offset = offset.plusMillis(500);
    call(50, 50);
    assertTrue(errorMillis() < 60);
  }

  @Test
  void aServiceClockThatWasSetIsFollowedAtOnce() {
    call(1, 1);
    offset = offset.minusSeconds(60);
    call(20, 20);
    assertTrue(errorMillis() < 30);
  }

  @Test
  void settingTheLocalClockDoesNotMoveTheEstimate() {
    call(1, 1);
    wallAhead = Duration.ofHours(1);
    assertTrue(errorMillis() < 5);
  }

  @Test
  void afterTheMachineHasSleptTheServiceIsAskedAnew() {
    call(1, 1);
    assertTrue(clock.known());
    wallAhead = Duration.ofMillis(900);
    assertTrue(clock.known());
    wallAhead = Duration.ofMillis(1100);
    assertFalse(clock.known());
    offset = offset.plusMillis(1100);
    call(5000, 5000);
    assertTrue(clock.known(), "also a slow answer tells more than a clock that stopped");
    assertTrue(errorMillis() < 5002);
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "yesterday", "2026-11-22T10:00:00", "1700000000"})
  void whatIsNoTimeIsPassedOver(String stamp) {
    clock.observe(stamp, 0, 1);
    assertFalse(clock.known());
  }
}
