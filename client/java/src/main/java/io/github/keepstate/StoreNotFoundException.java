package io.github.keepstate;

/**
 * The service knows no store of this name. Not a {@link NotFoundException}: a mistyped store must
 * not look like a missing record.
 */
public final class StoreNotFoundException extends InvalidArgumentException {
  StoreNotFoundException(Failure failure) {
    super(failure);
  }
}
