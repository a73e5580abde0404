package io.github.keepstate;

/** The caller has no grant for this. */
public final class PermissionDeniedException extends KeepstateException {
  PermissionDeniedException(Failure failure) {
    super(failure);
  }
}
