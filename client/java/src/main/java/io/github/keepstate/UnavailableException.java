package io.github.keepstate;

import java.time.Duration;
import java.util.Optional;

/** The service, its sidecar or the store does not answer. A write was not applied. */
public final class UnavailableException extends KeepstateException {
  private final Duration retryAfter;

  UnavailableException(Failure failure) {
    super(failure);
    retryAfter = failure.retryAfter();
  }

  /**
   * How long the service asks to wait.
   *
   * @return empty: it did not say
   */
  public Optional<Duration> retryAfter() {
    return Optional.ofNullable(retryAfter);
  }
}
