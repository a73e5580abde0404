package io.github.keepstate;

import java.util.Optional;

/** What became of one operation of a batch: its answer, or {@link Failed}. */
public sealed interface BatchResult
    permits BatchResult.Read,
        BatchResult.Written,
        BatchResult.Deleted,
        BatchResult.Failed,
        Touched,
        Updated {

  /**
   * The answer to a {@link Get}.
   *
   * @param record empty: there is none
   */
  record Read(Optional<StateRecord> record) implements BatchResult {}

  /**
   * The answer to a {@link Put}.
   *
   * @param etag the new one
   */
  record Written(String etag) implements BatchResult {}

  /**
   * The answer to a {@link Delete}.
   *
   * @param existed whether there was a record
   */
  record Deleted(boolean existed) implements BatchResult {}

  /**
   * The operation failed, and the others do not care.
   *
   * @param error what the operation would have thrown as a call of its own
   */
  record Failed(KeepstateException error) implements BatchResult {}
}
