package io.github.keepstate;

import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;

/** A time that passes with each pause, at once, and as a test says. */
final class MovedTime implements Time {
  final List<Duration> pauses = new ArrayList<>();
  private long ahead;
  private long asleep;

  /** Does something else in place of the next pauses. */
  Runnable instead;

  @Override
  public synchronized long nanos() {
    return System.nanoTime() + ahead;
  }

  @Override
  public synchronized Instant wall() {
    return Instant.now().plusNanos(ahead + asleep);
  }

  @Override
  public void sleep(long nanos, CountDownLatch unless) {
    synchronized (this) {
      pauses.add(Duration.ofNanos(nanos));
      ahead += nanos;
    }
    if (instead != null) {
      instead.run();
    }
  }

  synchronized void pass(Duration duration) {
    ahead += duration.toNanos();
  }

  /** The machine sleeps: only the wall clock goes on. */
  synchronized void suspend(Duration duration) {
    asleep += duration.toNanos();
  }
}
