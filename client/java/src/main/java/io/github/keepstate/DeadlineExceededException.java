package io.github.keepstate;

/**
 * Time was up. A write was not applied; where that cannot be told it is an {@link
 * OutcomeUnknownException}.
 */
public final class DeadlineExceededException extends KeepstateException {
  DeadlineExceededException(Failure failure) {
    super(failure);
  }
}
