package io.github.keepstate;

import static java.util.Objects.requireNonNull;

import java.time.Duration;
import java.util.concurrent.ThreadLocalRandom;

/**
 * How long to pause before a call is repeated, within its time. The pauses are drawn between
 * nothing and a ceiling that doubles from {@code initial} to {@code limit}, and come on top of what
 * the service asks for.
 *
 * @param initial the first ceiling
 * @param limit the highest ceiling
 */
public record Retry(Duration initial, Duration limit) {
  /** From 50 ms to 1 s. */
  public static final Retry DEFAULT = new Retry(Duration.ofMillis(50), Duration.ofSeconds(1));

  /**
   * Refuses durations that are negative, and a limit under the initial one.
   *
   * @param initial not negative
   * @param limit not less than {@code initial}
   */
  public Retry {
    if (requireNonNull(initial, "initial").isNegative()) {
      throw new IllegalArgumentException("initial must not be negative: " + initial);
    }
    if (requireNonNull(limit, "limit").compareTo(initial) < 0) {
      throw new IllegalArgumentException("limit must not be less than initial: " + limit);
    }
  }

  /**
   * Nanoseconds to wait after the attempt of this number, from 0 on, on top of what the service
   * asks for.
   */
  long pause(int attempt) {
    long most = Times.nanos(limit);
    long first = Times.nanos(initial);
    int doubled = Math.min(attempt, 32);
    long ceiling = first > most >> doubled ? most : Math.min(most, first << doubled);
    return ThreadLocalRandom.current().nextLong(ceiling + 1);
  }
}
