package io.github.keepstate;

import java.util.Optional;

/** There is no such record, and the call needed one: {@code ifExists}, or a touch. */
public final class NotFoundException extends KeepstateException {
  private final RecordName name;

  NotFoundException(Failure failure) {
    super(failure);
    name = failure.record();
  }

  /**
   * The record.
   *
   * @return empty: the service did not name it
   */
  public Optional<RecordName> name() {
    return Optional.ofNullable(name);
  }
}
