package io.github.keepstate;

import java.time.DateTimeException;
import java.time.Duration;
import java.time.Instant;
import java.time.OffsetDateTime;

/**
 * Estimates the service's time from the times that its answers carry.
 *
 * <p>An answer was stamped somewhere between sending and receiving, so half of that time is the
 * most by which the estimate can be wrong, and the quickest answer of late is the best one. Until
 * the first answer the local clock serves. The estimate is carried on by {@link Time#nanos}, so
 * that setting the local clock does not move it.
 */
final class ServiceClock {
  /** The service states its time in whole milliseconds. */
  private static final Duration RESOLUTION = Duration.ofMillis(1);

  /**
   * Two clocks are taken to part by less than a thousandth: so old samples make room for new ones.
   */
  private static final long DRIFT = 1_000;

  /**
   * By how much the two local clocks may part before one of them must have stopped, or been set.
   */
  private static final Duration PARTED = Duration.ofSeconds(1);

  private final Time time;
  private Sample best;

  /**
   * The service's time at a moment.
   *
   * @param at the moment, as {@link Time#nanos} tells
   * @param wall the same moment, as {@link Time#wall} tells
   * @param error by how much {@code service} may be wrong
   */
  private record Sample(long at, Instant wall, Instant service, Duration error) {
    Instant serviceAt(long nanos) {
      return service.plusNanos(nanos - at);
    }

    Duration errorAt(long nanos) {
      return error.plusNanos(Math.abs(nanos - at) / DRIFT);
    }
  }

  ServiceClock(Time time) {
    this.time = time;
  }

  /** Whether an answer has told the service's time, and the machine has not slept since. */
  synchronized boolean known() {
    if (best == null) {
      return false;
    }
    Instant expected = best.wall.plusNanos(time.nanos() - best.at);
    return Duration.between(expected, time.wall()).abs().compareTo(PARTED) <= 0;
  }

  /** The service's time. */
  synchronized Instant now() {
    return best == null ? time.wall() : best.serviceAt(time.nanos());
  }

  /**
   * Takes in the {@code keepstate-time} of an answer to what was sent and received at these {@link
   * Time#nanos}.
   */
  synchronized void observe(String stamp, long sent, long received) {
    Instant service;
    try {
      service = OffsetDateTime.parse(stamp).toInstant();
    } catch (DateTimeException another) {
      return; // a proxy's, not the service's: no reason to fail a call that succeeded
    }
    long at = sent + (received - sent) / 2;
    Instant wall = time.wall().minusNanos(time.nanos() - at);
    Duration error = Duration.ofNanos((received - sent) / 2).plus(RESOLUTION);
    Sample sample = new Sample(at, wall, service, error);
    if (!known() || isBetter(sample)) {
      best = sample;
    }
  }

  private boolean isBetter(Sample sample) {
    Duration error = best.errorAt(sample.at);
    Duration apart = Duration.between(best.serviceAt(sample.at), sample.service).abs();
    // Two that cannot both be right: the service's clock was set, or another instance answers. The
    // newer one counts.
    boolean contradicts = apart.compareTo(error.plus(sample.error)) > 0;
    return contradicts || sample.error.compareTo(error) <= 0;
  }
}
