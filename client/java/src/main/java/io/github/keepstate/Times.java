package io.github.keepstate;

import com.google.protobuf.Timestamp;
import java.time.Duration;
import java.time.Instant;
import java.util.Optional;

/** Between the times and durations of Java and those on the wire. */
final class Times {
  /** Some 10,000 years. */
  private static final long MOST_SECONDS = 315_576_000_000L;

  private Times() {}

  static Optional<Instant> optional(boolean present, Timestamp time) {
    return present
        ? Optional.of(Instant.ofEpochSecond(time.getSeconds(), time.getNanos()))
        : Optional.empty();
  }

  static Timestamp message(Instant time) {
    return Timestamp.newBuilder()
        .setSeconds(time.getEpochSecond())
        .setNanos(time.getNano())
        .build();
  }

  /** A negative one has its seconds and nanoseconds both negative, as the wire demands. */
  static com.google.protobuf.Duration message(Duration duration) {
    long seconds = duration.getSeconds();
    int nanos = duration.getNano();
    if (seconds < 0 && nanos > 0) {
      seconds += 1;
      nanos -= 1_000_000_000;
    }
    return com.google.protobuf.Duration.newBuilder().setSeconds(seconds).setNanos(nanos).build();
  }

  static Duration of(com.google.protobuf.Duration duration) {
    return Duration.ofSeconds(duration.getSeconds(), duration.getNanos());
  }

  /** Whether it is one that can be waited: not negative, and of the range that protobuf has. */
  static boolean isWait(com.google.protobuf.Duration duration) {
    return duration.getSeconds() >= 0
        && duration.getSeconds() <= MOST_SECONDS
        && duration.getNanos() >= 0;
  }

  /** As many nanoseconds as it has, at most those of 146 years. */
  static long nanos(Duration duration) {
    long most = Long.MAX_VALUE / 2;
    return duration.compareTo(Duration.ofNanos(most)) < 0 ? duration.toNanos() : most;
  }
}
