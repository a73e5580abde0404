package io.github.keepstate;

import io.github.keepstate.v1.RequestId;
import io.github.keepstate.v1.TouchRequest;
import java.time.Duration;
import java.time.Instant;

/** Moves a record's expiry without sending the value. There must be a record. The etag stays. */
public final class Touch extends Write<Touch> implements BatchOperation {
  private Touch(Terms terms) {
    super(terms);
  }

  /**
   * Has the record expire.
   *
   * @param key in the view's namespace and store, unless told otherwise
   * @param ttl from now on, by the service's clock; 1 ms to 50 years
   * @return the operation
   */
  public static Touch ttl(String key, Duration ttl) {
    return new Touch(Terms.of(key).ttl(ttl));
  }

  /**
   * Has the record expire.
   *
   * @param key in the view's namespace and store, unless told otherwise
   * @param time by the service's clock; in the future, at most 50 years from now
   * @return the operation
   */
  public static Touch expireAt(String key, Instant time) {
    return new Touch(Terms.of(key).expireAt(time));
  }

  /**
   * Has the record live for ever.
   *
   * @param key in the view's namespace and store, unless told otherwise
   * @return the operation
   */
  public static Touch never(String key) {
    return new Touch(Terms.of(key));
  }

  @Override
  Touch with(Terms terms) {
    return new Touch(terms);
  }

  TouchRequest message(Scope scope, RequestId request) {
    TouchRequest.Builder builder =
        TouchRequest.newBuilder().setName(scope.name(terms)).setConsistency(terms.level());
    terms.apply(
        builder::setPrecondition,
        builder::setTtl,
        builder::setExpireTime,
        keep -> {
          throw new IllegalStateException("a touch cannot keep the expiry"); // none can be made so
        });
    return request(builder, request, builder::setRequest).build();
  }
}
