package io.github.keepstate;

/** A demand of a transaction on a record that it does not write. */
public final class Check extends Named<Check> implements TransactOperation {
  private Check(Terms terms) {
    super(terms);
  }

  /**
   * Demands that there is no record, else {@link AlreadyExistsException}.
   *
   * @param key in the view's namespace and store, unless told otherwise
   * @return the operation
   */
  public static Check absent(String key) {
    return new Check(Terms.of(key).ifAbsent());
  }

  /**
   * Demands that there is a record, else {@link NotFoundException}.
   *
   * @param key in the view's namespace and store, unless told otherwise
   * @return the operation
   */
  public static Check exists(String key) {
    return new Check(Terms.of(key).ifExists());
  }

  /**
   * Demands that the record has this etag, else {@link ConflictException}.
   *
   * @param key in the view's namespace and store, unless told otherwise
   * @param etag of a record that was read, or that a write returned
   * @return the operation
   */
  public static Check etag(String key, String etag) {
    return new Check(Terms.of(key).ifEtag(etag));
  }

  @Override
  Check with(Terms terms) {
    return new Check(terms);
  }

  io.github.keepstate.v1.Check message(Scope scope) {
    return io.github.keepstate.v1.Check.newBuilder()
        .setName(scope.name(terms))
        .setPrecondition(terms.condition())
        .build();
  }
}
