package io.github.keepstate;

import java.time.Instant;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** This machine's clocks, and pauses by them. Tests have others. */
interface Time {
  /** The real ones. */
  Time SYSTEM =
      new Time() {
        @Override
        public long nanos() {
          return System.nanoTime();
        }

        @Override
        public Instant wall() {
          return Instant.now();
        }

        @Override
        public void sleep(long nanos, CountDownLatch unless) throws InterruptedException {
          unless.await(nanos, TimeUnit.NANOSECONDS);
        }
      };

  /**
   * Nanoseconds since some moment, by a clock that nobody sets; it may stop while the machine
   * sleeps.
   */
  long nanos();

  /** The time of day, by a clock that may be set. */
  Instant wall();

  /** Waits so long, or until the latch opens. */
  void sleep(long nanos, CountDownLatch unless) throws InterruptedException;
}
