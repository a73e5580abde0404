package io.github.keepstate;

import com.google.protobuf.Any;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import com.google.rpc.Status;
import io.grpc.Metadata;
import io.grpc.Status.Code;
import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.util.Map;

/** What the service says where a call fails. */
final class Refusals {
  static final Status DOWN = refusal(Code.UNAVAILABLE, "STORE_UNAVAILABLE", Map.of());
  static final Status UNTOUCHED =
      refusal(Code.UNAVAILABLE, "STORE_UNAVAILABLE", Map.of("nothing_sent", "true"));
  static final Status UNKNOWN = refusal(Code.UNKNOWN, "OUTCOME_UNKNOWN", Map.of());
  static final Status CONFLICT = refusal(Code.ABORTED, "ETAG_MISMATCH", Map.of("etag", "e9"));
  static final Status MISSING = refusal(Code.NOT_FOUND, "RECORD_NOT_FOUND", Map.of());

  /** What gRPC makes of a connection that broke under a call. */
  static final Status BROKEN = refusal(Code.UNAVAILABLE, "", Map.of());

  private Refusals() {}

  static Status refusal(Code code, String reason, Map<String, String> metadata) {
    Status.Builder status = Status.newBuilder().setCode(code.value()).setMessage("refused");
    if (!reason.isEmpty()) {
      status.addDetails(
          Any.pack(
              ErrorInfo.newBuilder()
                  .setDomain("keepstate")
                  .setReason(reason)
                  .putAllMetadata(metadata)
                  .build()));
    }
    return status.build();
  }

  static Status after(Status status, Duration retry) {
    return status.toBuilder()
        .addDetails(Any.pack(RetryInfo.newBuilder().setRetryDelay(Times.message(retry)).build()))
        .build();
  }

  static StatusRuntimeException thrown(Status status) {
    Metadata trailers = new Metadata();
    trailers.put(Errors.DETAILS, status.toByteArray());
    return io.grpc.Status.fromCodeValue(status.getCode())
        .withDescription(status.getMessage())
        .asRuntimeException(trailers);
  }
}
