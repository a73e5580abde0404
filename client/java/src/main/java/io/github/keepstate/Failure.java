package io.github.keepstate;

import io.grpc.Status;
import java.time.Duration;
import java.util.List;
import java.util.Map;

/** A failed call, taken apart. */
record Failure(
    Status.Code code,
    String message,
    String reason,
    Map<String, String> metadata,
    List<FieldViolation> violations,
    Duration retryAfter,
    boolean nothingSent,
    Throwable cause) {

  /** One that the service did not explain, or that arose here. */
  static Failure of(Status.Code code, String message) {
    return new Failure(code, message, "", Map.of(), List.of(), null, false, null);
  }

  Failure withCause(Throwable cause) {
    return new Failure(code, message, reason, metadata, violations, retryAfter, nothingSent, cause);
  }

  Failure withMessage(String message) {
    return new Failure(code, message, reason, metadata, violations, retryAfter, nothingSent, cause);
  }

  Failure withNothingSent() {
    return new Failure(code, message, reason, metadata, violations, retryAfter, true, cause);
  }

  Failure withMetadata(Map<String, String> metadata) {
    return new Failure(code, message, reason, metadata, violations, retryAfter, nothingSent, cause);
  }

  /** Empty: there is none. */
  String metadata(String name) {
    return metadata.getOrDefault(name, "");
  }

  /** Null: the service did not name it. */
  RecordName record() {
    String key = metadata("key");
    return key.isEmpty() ? null : new RecordName(metadata("store"), metadata("namespace"), key);
  }

  /** Null: there is none, or it is not known. */
  String etag() {
    String etag = metadata("etag");
    return etag.isEmpty() ? null : etag;
  }
}
