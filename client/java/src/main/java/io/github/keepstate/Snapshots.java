package io.github.keepstate;

import io.github.keepstate.v1.Record;
import io.github.keepstate.v1.SnapshotRequest;
import io.github.keepstate.v1.SnapshotResponse;
import io.github.keepstate.v1.StateServiceGrpc;
import io.grpc.Status;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/** Several records as of one moment. */
final class Snapshots {
  private Snapshots() {}

  /** Reads the records of these names, 1 to 100, in their order. */
  static List<Optional<Record>> read(
      Connection connection, List<io.github.keepstate.v1.RecordName> names, Duration timeout) {
    SnapshotRequest request = SnapshotRequest.newBuilder().addAllNames(names).build();
    SnapshotResponse response =
        connection.read(StateServiceGrpc.getSnapshotMethod(), request, timeout);
    if (response.getItemsCount() != names.size()) {
      String words = "the service gave %d records for %d names";
      throw new InternalException(
          Failure.of(
              Status.Code.INTERNAL, words.formatted(response.getItemsCount(), names.size())));
    }
    return response.getItemsList().stream()
        .map(item -> item.hasRecord() ? Optional.of(item.getRecord()) : Optional.<Record>empty())
        .toList();
  }
}
