package io.github.keepstate;

import io.github.keepstate.v1.UpdateResponse;
import java.util.Optional;

/**
 * What an update left.
 *
 * @param record the record as the update left it; where {@code repeated}, as it is now, and empty
 *     if there is none any more
 * @param repeated an earlier attempt, whose answer was lost, had applied the update; it was not
 *     applied again
 */
public record Updated(Optional<StateRecord> record, boolean repeated) implements BatchResult {
  static Updated of(UpdateResponse message) {
    return new Updated(
        message.hasRecord() ? Optional.of(StateRecord.of(message.getRecord())) : Optional.empty(),
        message.getRepeated());
  }
}
