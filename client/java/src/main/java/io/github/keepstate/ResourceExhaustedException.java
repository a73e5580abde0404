package io.github.keepstate;

import java.time.Duration;
import java.util.Optional;

/** A limit is reached: of the service's load, or of the size of a message. */
public final class ResourceExhaustedException extends KeepstateException {
  private final Duration retryAfter;
  private final String limit;

  ResourceExhaustedException(Failure failure) {
    super(failure);
    retryAfter = failure.retryAfter();
    limit = failure.metadata("limit");
  }

  /**
   * How long the service asks to wait.
   *
   * @return empty: it did not say
   */
  public Optional<Duration> retryAfter() {
    return Optional.ofNullable(retryAfter);
  }

  /**
   * Which limit, e.g. "calls under way".
   *
   * @return empty: the service did not say
   */
  public String limit() {
    return limit;
  }
}
