package io.github.keepstate;

/**
 * What all operations have: a record to work on. Immutable: each method returns another operation.
 *
 * @param <S> the operation's own kind
 */
public abstract sealed class Named<S> permits Access, Check {
  final Terms terms;

  Named(Terms terms) {
    this.terms = terms;
  }

  abstract S with(Terms terms);

  /**
   * The record's key.
   *
   * @return the key
   */
  public String key() {
    return terms.key();
  }

  /**
   * The same in another namespace than the view's.
   *
   * @param namespace empty: the default namespace
   * @return another operation
   */
  public S namespace(String namespace) {
    return with(terms.withNamespace(namespace));
  }

  /**
   * The same in another store than the view's.
   *
   * @param store a Dapr state component; empty: the service's default store
   * @return another operation
   */
  public S store(String store) {
    return with(terms.withStore(store));
  }
}
