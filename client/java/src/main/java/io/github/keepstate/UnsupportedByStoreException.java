package io.github.keepstate;

/** The store cannot keep a promise that the call needs. Nothing was changed. */
public final class UnsupportedByStoreException extends FailedPreconditionException {
  private final String capability;

  UnsupportedByStoreException(Failure failure) {
    super(failure);
    capability = failure.metadata("capability");
  }

  /**
   * What the store lacks.
   *
   * @return empty: the service did not say
   */
  public String capability() {
    return capability;
  }
}
