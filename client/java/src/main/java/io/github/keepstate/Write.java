package io.github.keepstate;

import io.github.keepstate.v1.RequestId;

/**
 * What all writes have.
 *
 * @param <S> the operation's own kind
 */
public abstract sealed class Write<S> extends Access<S> permits Delete, Touch, ValueWrite {
  Write(Terms terms) {
    super(terms);
  }

  /**
   * The same on the condition that there is a record, else {@link NotFoundException}.
   *
   * @return another operation
   * @throws IllegalArgumentException it has a condition already
   */
  public S ifExists() {
    return with(terms.ifExists());
  }

  /**
   * The same on the condition that the record has this etag, else {@link ConflictException}.
   *
   * @param etag of a record that was read, or that a write returned
   * @return another operation
   * @throws IllegalArgumentException it has a condition already
   */
  public S ifEtag(String etag) {
    return with(terms.ifEtag(etag));
  }

  /**
   * Puts the request into a message that is being built, if there is one: in a transaction writes
   * have none.
   */
  static <B> B request(B builder, RequestId request, java.util.function.Consumer<RequestId> set) {
    if (request != null) {
      set.accept(request);
    }
    return builder;
  }
}
