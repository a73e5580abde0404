package io.github.keepstate;

/**
 * A fault of the service, or of something between. {@link #correlationId} finds it in the service's
 * log.
 */
public final class InternalException extends KeepstateException {
  InternalException(Failure failure) {
    super(failure);
  }
}
