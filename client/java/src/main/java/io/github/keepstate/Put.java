package io.github.keepstate;

import static java.util.Objects.requireNonNull;

import io.github.keepstate.v1.PutRequest;
import io.github.keepstate.v1.RequestId;

/**
 * Writes one record: value, content type and expiry together. Without one of {@code ttl}, {@code
 * expireAt}, {@code keepExpiry} the record never expires, also where it had an expiry before.
 */
public final class Put extends ValueWrite<Put> implements BatchOperation, TransactOperation {
  private final Value value;

  private Put(Terms terms, Value value) {
    super(terms);
    this.value = value;
  }

  /**
   * A write of the record under a key.
   *
   * @param key in the view's namespace and store, unless told otherwise
   * @param value what the record is to hold
   * @return the operation
   */
  public static Put of(String key, Value value) {
    return new Put(Terms.of(key), requireNonNull(value, "value"));
  }

  @Override
  Put with(Terms terms) {
    return new Put(terms, value);
  }

  PutRequest message(Scope scope, RequestId request) {
    PutRequest.Builder builder =
        PutRequest.newBuilder()
            .setName(scope.name(terms))
            .setValue(value.message())
            .setContentType(value.contentType())
            .setConsistency(terms.level());
    terms.apply(
        builder::setPrecondition, builder::setTtl, builder::setExpireTime, builder::setKeepExpiry);
    return request(builder, request, builder::setRequest).build();
  }
}
