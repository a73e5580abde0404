package io.github.keepstate;

import java.time.Duration;
import java.time.Instant;

/**
 * What writes have that leave a value. Without an expiry the record never expires.
 *
 * @param <S> the operation's own kind
 */
public abstract sealed class ValueWrite<S> extends Write<S> permits Put, ValueUpdate {
  ValueWrite(Terms terms) {
    super(terms);
  }

  /**
   * The same on the condition that there is no record, else {@link AlreadyExistsException}.
   *
   * @return another operation
   * @throws IllegalArgumentException it has a condition already
   */
  public S ifAbsent() {
    return with(terms.ifAbsent());
  }

  /**
   * The same with an expiry.
   *
   * @param ttl from now on, by the service's clock; 1 ms to 50 years
   * @return another operation
   * @throws IllegalArgumentException it has an expiry already
   */
  public S ttl(Duration ttl) {
    return with(terms.ttl(ttl));
  }

  /**
   * The same with an expiry.
   *
   * @param time by the service's clock; in the future, at most 50 years from now
   * @return another operation
   * @throws IllegalArgumentException it has an expiry already
   */
  public S expireAt(Instant time) {
    return with(terms.expireAt(time));
  }

  /**
   * The same with the expiry that the record has, if any.
   *
   * @return another operation
   * @throws IllegalArgumentException it has an expiry already
   */
  public S keepExpiry() {
    return with(terms.keepExpiry());
  }
}
