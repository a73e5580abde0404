package io.github.keepstate;

import static java.util.Objects.requireNonNull;

import io.github.keepstate.v1.GetRequest;
import java.time.Duration;

/** Reads one record. */
public final class Get extends Access<Get> implements BatchOperation {
  private final Duration slideTtl;

  private Get(Terms terms, Duration slideTtl) {
    super(terms);
    this.slideTtl = slideTtl;
  }

  /**
   * A read of the record under a key.
   *
   * @param key in the view's namespace and store, unless told otherwise
   * @return the operation
   */
  public static Get of(String key) {
    return new Get(Terms.of(key), null);
  }

  /**
   * The same read, which also moves the record's expiry.
   *
   * @param ttl from now on, by the service's clock; 1 ms to 50 years
   * @return another operation
   */
  public Get slideTtl(Duration ttl) {
    return new Get(terms, requireNonNull(ttl, "ttl"));
  }

  @Override
  Get with(Terms terms) {
    return new Get(terms, slideTtl);
  }

  GetRequest message(Scope scope) {
    GetRequest.Builder builder =
        GetRequest.newBuilder().setName(scope.name(terms)).setConsistency(terms.level());
    if (slideTtl != null) {
      builder.setSlideTtl(Times.message(slideTtl));
    }
    return builder.build();
  }
}
