package io.github.keepstate;

import java.util.Optional;

/** The write demanded absence, and there is a record. */
public final class AlreadyExistsException extends KeepstateException {
  private final RecordName name;
  private final String etag;

  AlreadyExistsException(Failure failure) {
    super(failure);
    name = failure.record();
    etag = failure.etag();
  }

  /**
   * The record.
   *
   * @return empty: the service did not name it
   */
  public Optional<RecordName> name() {
    return Optional.ofNullable(name);
  }

  /**
   * The record's etag.
   *
   * @return empty: it is not known
   */
  public Optional<String> etag() {
    return Optional.ofNullable(etag);
  }
}
