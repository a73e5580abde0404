package io.github.keepstate;

/**
 * What reads and writes have.
 *
 * @param <S> the operation's own kind
 */
public abstract sealed class Access<S> extends Named<S> permits Get, Write {
  Access(Terms terms) {
    super(terms);
  }

  /**
   * The same with another consistency than {@link Consistency#STRONG}.
   *
   * @param consistency where to read, or whose acknowledgement to wait for
   * @return another operation
   */
  public S consistency(Consistency consistency) {
    return with(terms.withConsistency(consistency));
  }
}
