package io.github.keepstate;

import io.grpc.Status;

/**
 * The root of what calls throw; each of its types is something that a caller would treat
 * differently. Arguments that are wrong in themselves are an {@link IllegalArgumentException}
 * instead, before anything is sent.
 */
public abstract class KeepstateException extends RuntimeException {
  private final Status.Code code;
  private final String reason;
  private final String correlationId;
  private final boolean nothingSent;

  KeepstateException(Failure failure) {
    super(failure.message(), failure.cause());
    this.code = failure.code();
    this.reason = failure.reason();
    this.correlationId = failure.metadata("correlation_id");
    this.nothingSent = failure.nothingSent();
  }

  /**
   * The call's gRPC code.
   *
   * @return the code
   */
  public Status.Code code() {
    return code;
  }

  /**
   * The name in {@code keepstate.v1.ErrorReason} without its prefix, e.g. "ETAG_MISMATCH".
   *
   * @return the reason; empty: the service did not say one
   */
  public String reason() {
    return reason;
  }

  /**
   * What finds the call in the service's log.
   *
   * @return the id; empty: it is not known
   */
  public String correlationId() {
    return correlationId;
  }

  /**
   * Of a failed write: whether surely nothing was sent to the store for it.
   *
   * @return false: that is not known
   */
  public boolean nothingSent() {
    return nothingSent;
  }
}
