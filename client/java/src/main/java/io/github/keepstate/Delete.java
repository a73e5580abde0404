package io.github.keepstate;

import io.github.keepstate.v1.DeleteRequest;
import io.github.keepstate.v1.RequestId;

/** Deletes one record, if there is one. */
public final class Delete extends Write<Delete> implements BatchOperation, TransactOperation {
  private Delete(Terms terms) {
    super(terms);
  }

  /**
   * A delete of the record under a key.
   *
   * @param key in the view's namespace and store, unless told otherwise
   * @return the operation
   */
  public static Delete of(String key) {
    return new Delete(Terms.of(key));
  }

  @Override
  Delete with(Terms terms) {
    return new Delete(terms);
  }

  DeleteRequest message(Scope scope, RequestId request) {
    DeleteRequest.Builder builder =
        DeleteRequest.newBuilder().setName(scope.name(terms)).setConsistency(terms.level());
    if (terms.condition() != null) {
      builder.setPrecondition(terms.condition());
    }
    return request(builder, request, builder::setRequest).build();
  }
}
