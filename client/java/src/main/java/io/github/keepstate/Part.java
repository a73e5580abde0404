package io.github.keepstate;

import io.github.keepstate.v1.RequestId;
import java.util.Set;

/** One operation on its way through the attempts: a call's only one, or one of a batch. */
class Part {
  /** Reasons with which the service has judged a write, and so also all of its earlier attempts. */
  private static final Set<String> JUDGED =
      Set.of(
          "ETAG_MISMATCH",
          "TRANSACTION_CONFLICT",
          "RECORD_ALREADY_EXISTS",
          "RECORD_NOT_FOUND",
          "UPDATE_NOT_APPLICABLE");

  /** What makes it repeatable, as it is sent next. Null: it reads. */
  RequestId request;

  /** An attempt may have been applied, or may yet be, and no answer has told. */
  private boolean inDoubt;

  Part(RequestId request) {
    this.request = request;
  }

  /**
   * Takes in how an attempt failed, and returns what the caller is told unless there is another.
   */
  KeepstateException failed(KeepstateException error) {
    if (request == null || JUDGED.contains(error.reason())) {
      return error;
    }
    if (error instanceof OutcomeUnknownException) {
      inDoubt = true;
      return error;
    }
    return inDoubt ? Errors.inDoubt(error) : error;
  }

  /** Whether nobody has seen the request of which the last attempt failed so. */
  boolean isUnseen(KeepstateException failure) {
    return failure.nothingSent() && !inDoubt;
  }
}
