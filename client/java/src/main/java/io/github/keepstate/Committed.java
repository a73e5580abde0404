package io.github.keepstate;

import io.github.keepstate.v1.DeleteResponse;
import io.github.keepstate.v1.PutResponse;
import io.github.keepstate.v1.TransactRequest;
import io.github.keepstate.v1.TransactResponse;
import io.grpc.Status;
import java.util.List;

/**
 * What a transaction did.
 *
 * @param puts the new etag of each record put, in the order of the puts
 * @param deletes whether each record deleted was there, in the order of the deletes
 * @param updates what each update left, in the order of the updates
 */
public record Committed(List<String> puts, List<Boolean> deletes, List<Updated> updates) {
  /**
   * Reads an answer to this request.
   *
   * @throws OutcomeUnknownException it is one to another
   */
  static Committed of(TransactResponse message, TransactRequest request) {
    if (message.getPutsCount() != request.getPutsCount()
        || message.getDeletesCount() != request.getDeletesCount()
        || message.getUpdatesCount() != request.getUpdatesCount()) {
      throw new OutcomeUnknownException(
          Failure.of(Status.Code.INTERNAL, "the service gave not one result for each write"));
    }
    return new Committed(
        message.getPutsList().stream().map(PutResponse::getEtag).toList(),
        message.getDeletesList().stream().map(DeleteResponse::getExisted).toList(),
        message.getUpdatesList().stream().map(Updated::of).toList());
  }
}
