package io.github.keepstate;

import java.util.Optional;

/**
 * An update does not fit the value that it met: no number, no list, no JSON, or out of bounds.
 * Nothing was changed.
 */
public final class UpdateNotApplicableException extends FailedPreconditionException {
  private final RecordName name;

  UpdateNotApplicableException(Failure failure) {
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
