package io.github.keepstate;

import io.github.keepstate.v1.UpdateRequest;

/**
 * Adds to a number that is kept as decimal text. An absent record counts as 0, unless told
 * otherwise.
 */
public final class Increment extends ValueUpdate<Increment> implements Update {
  private final io.github.keepstate.v1.Increment increment;

  private Increment(Terms terms, io.github.keepstate.v1.Increment increment) {
    super(terms);
    this.increment = increment;
  }

  /**
   * Adds to the number under a key.
   *
   * @param key in the view's namespace and store, unless told otherwise
   * @param delta what to add; may be negative
   * @return the operation
   */
  public static Increment of(String key, long delta) {
    return new Increment(
        Terms.of(key), io.github.keepstate.v1.Increment.newBuilder().setDelta(delta).build());
  }

  /**
   * The same, where an absent record counts as another number than 0.
   *
   * @param number the number
   * @return another operation
   */
  public Increment initial(long number) {
    return new Increment(terms, increment.toBuilder().setInitial(number).build());
  }

  /**
   * The same with a least result, else {@link UpdateNotApplicableException}.
   *
   * @param number the least that the result may be
   * @return another operation
   */
  public Increment minimum(long number) {
    return new Increment(terms, increment.toBuilder().setMinimum(number).build());
  }

  /**
   * The same with a greatest result, else {@link UpdateNotApplicableException}.
   *
   * @param number the most that the result may be
   * @return another operation
   */
  public Increment maximum(long number) {
    return new Increment(terms, increment.toBuilder().setMaximum(number).build());
  }

  @Override
  Increment with(Terms terms) {
    return new Increment(terms, increment);
  }

  @Override
  void change(UpdateRequest.Builder request) {
    request.setIncrement(increment);
  }
}
