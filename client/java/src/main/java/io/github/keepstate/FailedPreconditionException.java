package io.github.keepstate;

/** The call does not fit the state of things. Nothing was changed. */
public class FailedPreconditionException extends KeepstateException {
  FailedPreconditionException(Failure failure) {
    super(failure);
  }
}
