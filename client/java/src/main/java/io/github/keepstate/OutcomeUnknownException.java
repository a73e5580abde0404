package io.github.keepstate;

/**
 * The write may have been applied, or may yet be: its answer was lost, or the store's answer could
 * not tell. Read before writing again.
 */
public final class OutcomeUnknownException extends KeepstateException {
  private final boolean forGood;

  OutcomeUnknownException(Failure failure) {
    super(failure);
    forGood = failure.metadata("for_good").equals("true");
  }

  /**
   * What would tell has been forgotten.
   *
   * @return whether sending the same request again can tell nothing
   */
  public boolean forGood() {
    return forGood;
  }
}
