package io.github.keepstate;

import io.github.keepstate.v1.RequestId;
import io.github.keepstate.v1.UpdateRequest;

/**
 * What all updates have.
 *
 * @param <S> the operation's own kind
 */
public abstract sealed class ValueUpdate<S> extends ValueWrite<S>
    permits Increment, Append, MergePatch {
  ValueUpdate(Terms terms) {
    super(terms);
  }

  /** Says what to do with the value in a message that is being built. */
  abstract void change(UpdateRequest.Builder request);

  static UpdateRequest message(Update update, Scope scope, RequestId request) {
    ValueUpdate<?> self = (ValueUpdate<?>) update; // each kind that the interface permits is one
    Terms terms = self.terms;
    UpdateRequest.Builder builder =
        UpdateRequest.newBuilder().setName(scope.name(terms)).setConsistency(terms.level());
    self.change(builder);
    terms.apply(
        builder::setPrecondition, builder::setTtl, builder::setExpireTime, builder::setKeepExpiry);
    return request(builder, request, builder::setRequest).build();
  }
}
