package io.github.keepstate;

/** This version of the service does not offer the call. */
public final class UnimplementedException extends KeepstateException {
  UnimplementedException(Failure failure) {
    super(failure);
  }
}
