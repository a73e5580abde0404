package io.github.keepstate;

import static java.util.Map.entry;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.github.keepstate.v1.ErrorReason;
import io.grpc.Metadata;
import io.grpc.Status.Code;
import java.time.Duration;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.Function;
import java.util.function.Predicate;
import java.util.stream.Collectors;

/** Makes the typed errors of what came over the wire. One table, total over reasons and codes. */
final class Errors {
  static final Metadata.Key<byte[]> DETAILS =
      Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER);

  private static final String DOMAIN = "keepstate";

  private static final Map<ErrorReason, Function<Failure, KeepstateException>> BY_REASON =
      Map.ofEntries(
          entry(ErrorReason.ERROR_REASON_RECORD_NOT_FOUND, NotFoundException::new),
          entry(ErrorReason.ERROR_REASON_RECORD_ALREADY_EXISTS, AlreadyExistsException::new),
          entry(ErrorReason.ERROR_REASON_ETAG_MISMATCH, ConflictException::new),
          entry(ErrorReason.ERROR_REASON_INVALID_FIELDS, InvalidArgumentException::new),
          entry(ErrorReason.ERROR_REASON_STORE_NOT_FOUND, StoreNotFoundException::new),
          entry(ErrorReason.ERROR_REASON_UNSUPPORTED_BY_STORE, UnsupportedByStoreException::new),
          entry(ErrorReason.ERROR_REASON_STORE_UNAVAILABLE, UnavailableException::new),
          entry(ErrorReason.ERROR_REASON_OUTCOME_UNKNOWN, OutcomeUnknownException::new),
          entry(ErrorReason.ERROR_REASON_DEADLINE_EXCEEDED, DeadlineExceededException::new),
          entry(ErrorReason.ERROR_REASON_OVERLOADED, ResourceExhaustedException::new),
          entry(ErrorReason.ERROR_REASON_NOT_IMPLEMENTED, UnimplementedException::new),
          entry(ErrorReason.ERROR_REASON_TRANSACTION_CONFLICT, TransactionConflictException::new),
          entry(ErrorReason.ERROR_REASON_UNAUTHENTICATED, UnauthenticatedException::new),
          entry(ErrorReason.ERROR_REASON_PERMISSION_DENIED, PermissionDeniedException::new),
          entry(ErrorReason.ERROR_REASON_INTERNAL, InternalException::new),
          entry(ErrorReason.ERROR_REASON_UPDATE_NOT_APPLICABLE, UpdateNotApplicableException::new));

  private static final Map<String, Function<Failure, KeepstateException>> BY_NAME =
      BY_REASON.entrySet().stream()
          .collect(
              Collectors.toMap(
                  each -> each.getKey().name().substring("ERROR_REASON_".length()),
                  Map.Entry::getValue));

  /**
   * For failures without a reason that this version knows: gRPC's own, a proxy's, or a newer
   * service's.
   */
  private static final Map<Code, Function<Failure, KeepstateException>> BY_CODE =
      Map.ofEntries(
          entry(Code.OK, InternalException::new), // a failure that says it is none
          entry(Code.CANCELLED, CancelledException::new),
          entry(Code.UNKNOWN, InternalException::new),
          entry(Code.INVALID_ARGUMENT, InvalidArgumentException::new),
          entry(Code.DEADLINE_EXCEEDED, DeadlineExceededException::new),
          entry(Code.NOT_FOUND, NotFoundException::new),
          entry(Code.ALREADY_EXISTS, AlreadyExistsException::new),
          entry(Code.PERMISSION_DENIED, PermissionDeniedException::new),
          entry(Code.UNAUTHENTICATED, UnauthenticatedException::new),
          entry(Code.RESOURCE_EXHAUSTED, ResourceExhaustedException::new),
          entry(Code.FAILED_PRECONDITION, FailedPreconditionException::new),
          entry(Code.ABORTED, ConflictException::new),
          entry(Code.OUT_OF_RANGE, InvalidArgumentException::new),
          entry(Code.UNIMPLEMENTED, UnimplementedException::new),
          entry(Code.INTERNAL, InternalException::new),
          entry(Code.UNAVAILABLE, UnavailableException::new),
          entry(Code.DATA_LOSS, InternalException::new));

  /**
   * Codes that, without a reason of the service, may stand for a lost answer: the write may have
   * been applied.
   */
  private static final Set<Code> MAY_HIDE_SUCCESS =
      EnumSet.of(
          Code.OK,
          Code.CANCELLED,
          Code.UNKNOWN,
          Code.DEADLINE_EXCEEDED,
          Code.RESOURCE_EXHAUSTED,
          Code.INTERNAL,
          Code.UNAVAILABLE,
          Code.DATA_LOSS);

  /**
   * What the service's gRPC library says where it threw a request away unread. It has no details
   * for that. Should the words change, such a write counts as unknown, which is never wrong.
   */
  private static final List<String> THROWN_AWAY =
      List.of("SERVER: Received message larger than max", "Concurrent RPC limit exceeded");

  private Errors() {}

  /** The failure of a call. */
  static Failure failure(io.grpc.Status status, Metadata trailers) {
    byte[] packed = trailers == null ? null : trailers.get(DETAILS);
    String message = status.getDescription() == null ? "" : status.getDescription();
    return failure(status.getCode(), message, details(packed));
  }

  /** The failure of one operation of a batch. */
  static Failure failure(com.google.rpc.Status status) {
    Code code = io.grpc.Status.fromCodeValue(status.getCode()).getCode();
    return failure(code, status.getMessage(), status);
  }

  /**
   * The typed error. Of a write it is an unknown outcome, where the failure may hide that it was
   * applied.
   */
  static KeepstateException of(Failure failure, boolean writes) {
    Function<Failure, KeepstateException> kind = BY_NAME.get(failure.reason());
    if (kind == null) {
      boolean lost = writes && MAY_HIDE_SUCCESS.contains(failure.code()) && !failure.nothingSent();
      kind = lost ? OutcomeUnknownException::new : BY_CODE.get(failure.code());
    }
    return kind.apply(failure);
  }

  /**
   * What the failure of a whole call means for a read in it, of which no outcome can be unknown.
   */
  static KeepstateException ofRead(KeepstateException error) {
    if (!(error instanceof OutcomeUnknownException)) {
      return error;
    }
    return BY_CODE.get(error.code()).apply(copy(error).withCause(error.getCause()));
  }

  /** A failed attempt at a write, of which an earlier one may have been applied. */
  static OutcomeUnknownException inDoubt(KeepstateException last) {
    Failure failure = copy(last);
    String message =
        "an attempt may have been applied, and the last one failed: " + last.getMessage();
    return new OutcomeUnknownException(
        Failure.of(failure.code(), message).withMetadata(failure.metadata()).withCause(last));
  }

  private static Failure copy(KeepstateException error) {
    return Failure.of(error.code(), error.getMessage())
        .withMetadata(Map.of("correlation_id", error.correlationId()));
  }

  private static Failure failure(Code code, String message, com.google.rpc.Status details) {
    Optional<ErrorInfo> info =
        detail(details, ErrorInfo.class).filter(found -> found.getDomain().equals(DOMAIN));
    Map<String, String> metadata = info.map(ErrorInfo::getMetadataMap).orElse(Map.of());
    return new Failure(
        code,
        message.isEmpty() ? code.name() : message,
        info.map(ErrorInfo::getReason).orElse(""),
        metadata,
        violations(details),
        retryAfter(details),
        "true".equals(metadata.get("nothing_sent"))
            || THROWN_AWAY.stream().anyMatch(message::startsWith),
        null);
  }

  private static com.google.rpc.Status details(byte[] packed) {
    if (packed != null) {
      try {
        return com.google.rpc.Status.parseFrom(packed);
      } catch (InvalidProtocolBufferException garbage) {
        // No details, then.
      }
    }
    return com.google.rpc.Status.getDefaultInstance();
  }

  private static List<FieldViolation> violations(com.google.rpc.Status details) {
    return detail(details, BadRequest.class).stream()
        .flatMap(bad -> bad.getFieldViolationsList().stream())
        .map(found -> new FieldViolation(found.getField(), found.getDescription()))
        .toList();
  }

  private static Duration retryAfter(com.google.rpc.Status details) {
    return detail(details, RetryInfo.class)
        .map(RetryInfo::getRetryDelay)
        .filter(Times::isWait)
        .map(Times::of)
        .orElse(null);
  }

  private static <M extends Message> Optional<M> detail(
      com.google.rpc.Status details, Class<M> kind) {
    Predicate<Any> fits = packed -> packed.is(kind);
    Optional<Any> found = details.getDetailsList().stream().filter(fits).findFirst();
    try {
      return found.isEmpty() ? Optional.empty() : Optional.of(found.get().unpack(kind));
    } catch (InvalidProtocolBufferException garbage) {
      return Optional.empty();
    }
  }
}
