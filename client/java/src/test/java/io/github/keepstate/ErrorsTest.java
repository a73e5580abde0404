package io.github.keepstate;

import static io.github.keepstate.Refusals.refusal;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Any;
import com.google.protobuf.ByteString;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import com.google.rpc.Status;
import io.github.keepstate.v1.ErrorReason;
import io.grpc.Metadata;
import io.grpc.Status.Code;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/** Every failure is one typed error that carries what the service said. */
class ErrorsTest {
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

  private static KeepstateException error(Status status, boolean writes) {
    return Errors.of(Errors.failure(status), writes);
  }

  @ParameterizedTest
  @CsvSource({
    "RECORD_NOT_FOUND, NOT_FOUND, NotFound",
    "RECORD_ALREADY_EXISTS, ALREADY_EXISTS, AlreadyExists",
    "ETAG_MISMATCH, ABORTED, Conflict",
    "INVALID_FIELDS, INVALID_ARGUMENT, InvalidArgument",
    "STORE_NOT_FOUND, INVALID_ARGUMENT, StoreNotFound",
    "UNSUPPORTED_BY_STORE, FAILED_PRECONDITION, UnsupportedByStore",
    "STORE_UNAVAILABLE, UNAVAILABLE, Unavailable",
    "OUTCOME_UNKNOWN, UNKNOWN, OutcomeUnknown",
    "DEADLINE_EXCEEDED, DEADLINE_EXCEEDED, DeadlineExceeded",
    "OVERLOADED, RESOURCE_EXHAUSTED, ResourceExhausted",
    "NOT_IMPLEMENTED, UNIMPLEMENTED, Unimplemented",
    "TRANSACTION_CONFLICT, ABORTED, TransactionConflict",
    "UNAUTHENTICATED, UNAUTHENTICATED, Unauthenticated",
    "PERMISSION_DENIED, PERMISSION_DENIED, PermissionDenied",
    "INTERNAL, INTERNAL, Internal",
    "UPDATE_NOT_APPLICABLE, FAILED_PRECONDITION, UpdateNotApplicable",
  })
  void aReasonHasItsErrorForReadsAndWrites(String reason, Code code, String type) {
    for (boolean writes : List.of(false, true)) {
      KeepstateException error = error(refusal(code, reason, Map.of()), writes);
      assertEquals(type + "Exception", error.getClass().getSimpleName());
      assertEquals(code, error.code());
      assertEquals(reason, error.reason());
      assertEquals("refused", error.getMessage());
    }
  }

  @ParameterizedTest
  @EnumSource(ErrorReason.class)
  void everyReasonOfTheProtoHasAnErrorOfItsOwn(ErrorReason reason) {
    boolean none =
        reason == ErrorReason.ERROR_REASON_UNSPECIFIED || reason == ErrorReason.UNRECOGNIZED;
    String name = reason.name().replace("ERROR_REASON_", "");
    // By its code, ABORTED, an unknown reason would be a conflict.
    boolean known =
        error(refusal(Code.DATA_LOSS, name, Map.of()), false).getClass() != InternalException.class
            || reason == ErrorReason.ERROR_REASON_INTERNAL;
    assertEquals(!none, known);
  }

  @ParameterizedTest
  @CsvSource({
    "OK, Internal",
    "CANCELLED, Cancelled",
    "UNKNOWN, Internal",
    "INVALID_ARGUMENT, InvalidArgument",
    "DEADLINE_EXCEEDED, DeadlineExceeded",
    "NOT_FOUND, NotFound",
    "ALREADY_EXISTS, AlreadyExists",
    "PERMISSION_DENIED, PermissionDenied",
    "UNAUTHENTICATED, Unauthenticated",
    "RESOURCE_EXHAUSTED, ResourceExhausted",
    "FAILED_PRECONDITION, FailedPrecondition",
    "ABORTED, Conflict",
    "OUT_OF_RANGE, InvalidArgument",
    "UNIMPLEMENTED, Unimplemented",
    "INTERNAL, Internal",
    "UNAVAILABLE, Unavailable",
    "DATA_LOSS, Internal",
  })
  void withoutAReasonThatIsKnownTheCodeDecides(Code code, String type) {
    for (String reason : List.of("", "NEWER_THAN_THIS_CLIENT")) {
      Status status = refusal(code, reason, Map.of());
      assertEquals(type + "Exception", error(status, false).getClass().getSimpleName());
      String written = MAY_HIDE_SUCCESS.contains(code) ? "OutcomeUnknown" : type;
      assertEquals(written + "Exception", error(status, true).getClass().getSimpleName());
    }
  }

  @Test
  void aReasonOfAnotherDomainCountsForNothing() {
    ErrorInfo info =
        ErrorInfo.newBuilder()
            .setDomain("dapr.io")
            .setReason("RECORD_NOT_FOUND")
            .putMetadata("nothing_sent", "true")
            .build();
    Status status =
        Status.newBuilder().setCode(Code.UNAVAILABLE.value()).addDetails(Any.pack(info)).build();
    KeepstateException error = error(status, true);
    assertInstanceOf(OutcomeUnknownException.class, error);
    assertEquals("", error.reason());
    assertFalse(error.nothingSent());
  }

  @ParameterizedTest
  @CsvSource({
    "SERVER: Received message larger than max (2 vs. 1)",
    "Concurrent RPC limit exceeded!"
  })
  void aWriteThatTheServersLibraryThrewAwayWasNotApplied(String words) {
    Status status =
        Status.newBuilder().setCode(Code.RESOURCE_EXHAUSTED.value()).setMessage(words).build();
    KeepstateException error = error(status, true);
    assertInstanceOf(ResourceExhaustedException.class, error);
    assertTrue(error.nothingSent());
  }

  @Test
  void whatTheServiceSaysIsCarried() {
    Map<String, String> about =
        Map.of(
            "etag",
            "e7",
            "store",
            "redis",
            "namespace",
            "chat",
            "key",
            "a",
            "correlation_id",
            "c1",
            "nothing_sent",
            "true");
    var conflict =
        assertInstanceOf(
            ConflictException.class, error(refusal(Code.ABORTED, "ETAG_MISMATCH", about), true));
    assertEquals("e7", conflict.etag().orElseThrow());
    assertEquals(new RecordName("redis", "chat", "a"), conflict.name().orElseThrow());
    assertEquals("c1", conflict.correlationId());
    assertTrue(conflict.nothingSent());
    var gone =
        assertInstanceOf(
            ConflictException.class,
            error(refusal(Code.ABORTED, "ETAG_MISMATCH", Map.of("etag", "")), true));
    assertTrue(gone.etag().isEmpty());
    assertTrue(gone.name().isEmpty());
    var unsupported =
        assertInstanceOf(
            UnsupportedByStoreException.class,
            error(
                refusal(
                    Code.FAILED_PRECONDITION,
                    "UNSUPPORTED_BY_STORE",
                    Map.of("capability", "rollback")),
                true));
    assertEquals("rollback", unsupported.capability());
  }

  @Test
  void everyFieldThatIsWrongIsNamed() {
    BadRequest.Builder bad = BadRequest.newBuilder();
    bad.addFieldViolationsBuilder().setField("name.key").setDescription("must not be empty");
    bad.addFieldViolationsBuilder().setField("ttl").setDescription("must be positive");
    Status status =
        refusal(Code.INVALID_ARGUMENT, "INVALID_FIELDS", Map.of()).toBuilder()
            .addDetails(Any.pack(bad.build()))
            .build();
    var error = assertInstanceOf(InvalidArgumentException.class, error(status, true));
    assertEquals(
        List.of(
            new FieldViolation("name.key", "must not be empty"),
            new FieldViolation("ttl", "must be positive")),
        error.violations());
    assertEquals("refused: name.key must not be empty; ttl must be positive", error.getMessage());
  }

  @Test
  void detailsThatCannotBeParsedAreNone() {
    Status garbage =
        Status.newBuilder()
            .setCode(Code.ABORTED.value())
            .addDetails(
                Any.newBuilder()
                    .setTypeUrl("type.googleapis.com/google.rpc.ErrorInfo")
                    .setValue(ByteString.copyFrom(new byte[] {-1, -1})))
            .build();
    assertInstanceOf(ConflictException.class, error(garbage, true));
    Metadata trailers = new Metadata();
    trailers.put(Errors.DETAILS, new byte[] {-1, -1});
    Failure failure = Errors.failure(io.grpc.Status.NOT_FOUND, trailers);
    assertInstanceOf(NotFoundException.class, Errors.of(failure, false));
  }

  @Test
  void aCodeThatGrpcDoesNotHaveIsUnknown() {
    KeepstateException error = error(Status.newBuilder().setCode(99).build(), false);
    assertInstanceOf(InternalException.class, error);
    assertEquals(Code.UNKNOWN, error.code());
  }

  @Test
  void anUnknownOutcomeIsNoneOfARead() {
    KeepstateException lost = error(refusal(Code.UNAVAILABLE, "", Map.of()), true);
    assertInstanceOf(UnavailableException.class, Errors.ofRead(lost));
    KeepstateException other = error(refusal(Code.ABORTED, "", Map.of()), true);
    assertSame(other, Errors.ofRead(other));
  }

  @Test
  void allCodesAreInTheTable() {
    Arrays.stream(Code.values())
        .forEach(code -> assertEquals(code, error(refusal(code, "", Map.of()), false).code()));
  }

  @ParameterizedTest
  @CsvSource({"-1, 0", "-9223372036854775808, 0", "9223372036854775807, 2147483647", "0, -1"})
  void aWaitThatNobodyCanWaitIsNone(long seconds, int nanos) {
    var delay =
        com.google.protobuf.Duration.newBuilder().setSeconds(seconds).setNanos(nanos).build();
    Status status =
        refusal(Code.UNAVAILABLE, "STORE_UNAVAILABLE", Map.of()).toBuilder()
            .addDetails(Any.pack(RetryInfo.newBuilder().setRetryDelay(delay).build()))
            .build();
    var error = assertInstanceOf(UnavailableException.class, error(status, false));
    assertTrue(error.retryAfter().isEmpty());
  }
}
