package io.github.keepstate;

import java.util.Optional;

/**
 * Somebody else wrote or deleted the record, or a record of the transaction. Nothing was changed.
 */
public class ConflictException extends KeepstateException {
  private final RecordName name;
  private final String etag;

  ConflictException(Failure failure) {
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
   * The record's etag now.
   *
   * @return empty: there is no record
   */
  public Optional<String> etag() {
    return Optional.ofNullable(etag);
  }
}
