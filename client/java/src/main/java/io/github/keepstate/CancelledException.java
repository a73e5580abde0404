package io.github.keepstate;

/**
 * The call was cut short: its thread was interrupted, or the client was closed. A write was not
 * applied.
 */
public final class CancelledException extends KeepstateException {
  CancelledException(Failure failure) {
    super(failure);
  }
}
