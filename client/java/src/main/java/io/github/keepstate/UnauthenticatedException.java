package io.github.keepstate;

/** The caller did not show who it is. */
public final class UnauthenticatedException extends KeepstateException {
  UnauthenticatedException(Failure failure) {
    super(failure);
  }
}
