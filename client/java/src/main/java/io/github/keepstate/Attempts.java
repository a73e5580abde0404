package io.github.keepstate;

import java.time.Duration;
import java.util.Collection;
import java.util.OptionalLong;

/** The attempts at one call: how long each may take, and whether and when there is another. */
final class Attempts {
  /** Where less would be left for another attempt, an attempt may take all of the time. */
  private static final long LEAST = 1_000_000_000;

  private final Time time;
  private final Retry retry;
  private final long deadline;
  private int failed;

  /**
   * Begins a call.
   *
   * @param retry null: there is one attempt
   * @param timeout how long the call may take, from now on
   */
  Attempts(Time time, Retry retry, Duration timeout) {
    this.time = time;
    this.retry = retry;
    this.deadline = time.nanos() + Times.nanos(timeout);
  }

  /** Nanoseconds until the call's time is up. */
  long left() {
    return deadline - time.nanos();
  }

  /**
   * Nanoseconds that an attempt may take that begins now: much, for a slow store; not all, for a
   * lost answer.
   */
  long next() {
    long left = left();
    return retry == null || left / 3 < LEAST ? left : left / 3 * 2;
  }

  /**
   * Counts an attempt that failed so, in one or more of its parts.
   *
   * @return nanoseconds to wait before what failed is sent again; empty: it is not
   */
  OptionalLong pauseAfter(Collection<? extends KeepstateException> failures) {
    if (retry == null) {
      return OptionalLong.empty();
    }
    // One draw for all: of many the largest would always be near its ceiling.
    long pause = retry.pause(failed++);
    long asked = 0;
    long needed = 0;
    boolean again = false;
    for (KeepstateException failure : failures) {
      if (mayBeRepeated(failure)) {
        again = true;
        asked = Math.max(asked, Times.nanos(retryAfter(failure)));
        // With hardly any time an attempt would only make an unknown outcome of a known one.
        needed = failure instanceof DeadlineExceededException ? LEAST : needed;
      }
    }
    return again && asked < left() - needed - pause
        ? OptionalLong.of(asked + pause)
        : OptionalLong.empty();
  }

  /** Whether what failed so may succeed, or tell more, when it is sent again. */
  static boolean mayBeRepeated(KeepstateException error) {
    if (error instanceof OutcomeUnknownException unknown) {
      return !unknown.forGood();
    }
    if (error instanceof ResourceExhaustedException exhausted) {
      // What had no room in an answer finds some when less is asked for, not later.
      return exhausted.retryAfter().isPresent() && !exhausted.limit().equals("bytes in one answer");
    }
    // An attempt's time was up; whether the call's is, is judged by its deadline.
    return error instanceof UnavailableException || error instanceof DeadlineExceededException;
  }

  private static Duration retryAfter(KeepstateException error) {
    if (error instanceof UnavailableException unavailable) {
      return unavailable.retryAfter().orElse(Duration.ZERO);
    }
    if (error instanceof ResourceExhaustedException exhausted) {
      return exhausted.retryAfter().orElse(Duration.ZERO);
    }
    return Duration.ZERO;
  }
}
