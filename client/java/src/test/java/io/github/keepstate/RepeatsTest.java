package io.github.keepstate;

import static io.github.keepstate.Refusals.BROKEN;
import static io.github.keepstate.Refusals.CONFLICT;
import static io.github.keepstate.Refusals.DOWN;
import static io.github.keepstate.Refusals.UNKNOWN;
import static io.github.keepstate.Refusals.UNTOUCHED;
import static io.github.keepstate.Refusals.after;
import static io.github.keepstate.Refusals.refusal;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.rpc.Status;
import io.github.keepstate.v1.RequestId;
import io.grpc.Context;
import io.grpc.Grpc;
import io.grpc.InsecureServerCredentials;
import io.grpc.MethodDescriptor;
import io.grpc.Server;
import io.grpc.ServerServiceDefinition;
import io.grpc.Status.Code;
import io.grpc.stub.ServerCalls;
import io.grpc.stub.StreamObserver;
import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.time.Duration;
import java.time.Instant;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Which calls are sent again, when, as which request, and what is told in the end. */
class RepeatsTest extends ServiceTest {
  private static final Value VALUE = Value.text("v");

  @Test
  void everyWriteHasARequestThatTellsItFromAllOthers() throws Exception {
    service.clock = () -> "2030-01-01T00:00:00.000Z";
    state.put("a", VALUE);
    state.delete("a");
    List<RequestId> sent = service.requests();
    assertEquals(List.of("1/0", "2/0"), service.attempts());
    assertNotEquals(0, sent.get(0).getClient());
    assertEquals(sent.get(0).getClient(), sent.get(1).getClient());
    Instant first = Instant.ofEpochSecond(sent.get(0).getFirstSent().getSeconds());
    assertEquals(Instant.parse("2030-01-01T00:00:00Z").getEpochSecond(), first.getEpochSecond(), 5);
    try (KeepstateClient other = KeepstateClient.connect(service.address())) {
      other.put("a", VALUE);
    }
    assertNotEquals(sent.get(0).getClient(), service.requests().get(2).getClient());
  }

  @Test
  void readsAreRepeatedWhileTheServiceIsUnavailable() {
    service.refuse(DOWN, DOWN, BROKEN);
    assertTrue(state.get("a").isEmpty());
    assertEquals(3, time.pauses.size());
  }

  @Test
  void pausesDoubleUpToAnEndAndAreDrawn() {
    service.refuse(Collections.nCopies(8, DOWN).toArray(Status[]::new));
    state.get("a");
    for (int i = 0; i < 8; i++) {
      Duration most = Duration.ofMillis(Math.min(1000, 50L << i));
      assertTrue(time.pauses.get(i).compareTo(most) <= 0, i + ": " + time.pauses);
    }
    assertEquals(8, time.pauses.stream().distinct().count());
  }

  @Test
  void aPauseIsNeverShorterThanTheServiceAsks() {
    service.refuse(after(DOWN, Duration.ofSeconds(2)));
    state.get("a");
    assertTrue(time.pauses.get(0).compareTo(Duration.ofSeconds(2)) >= 0);
  }

  @Test
  void noPauseOutlastsTheDeadline() {
    service.refuse(after(DOWN, Duration.ofSeconds(11)));
    var error = assertThrows(UnavailableException.class, () -> state.get("a"));
    assertEquals(Duration.ofSeconds(11), error.retryAfter().orElseThrow());
    assertEquals(List.of(), time.pauses);
  }

  @Test
  void nothingIsRepeatedWithoutRetry() {
    try (KeepstateClient hasty =
        KeepstateClient.builder(service.address()).withoutRetry().time(time).build()) {
      service.loseReply();
      assertThrows(OutcomeUnknownException.class, () -> hasty.put("a", VALUE));
      service.refuse(DOWN);
      assertThrows(UnavailableException.class, () -> hasty.get("a"));
    }
    assertEquals(List.of(), time.pauses);
  }

  @Test
  void aFullServiceIsAskedAgainWhenItSaysWhen() {
    Status busy = refusal(Code.RESOURCE_EXHAUSTED, "OVERLOADED", Map.of());
    service.refuse(after(busy, Duration.ofMillis(100)));
    assertTrue(state.get("a").isEmpty());
    service.refuse(busy);
    assertThrows(ResourceExhaustedException.class, () -> state.get("a"));
    Status noRoom =
        refusal(Code.RESOURCE_EXHAUSTED, "OVERLOADED", Map.of("limit", "bytes in one answer"));
    service.refuse(after(noRoom, Duration.ofMillis(100)));
    assertThrows(ResourceExhaustedException.class, () -> state.get("a"));
    assertEquals(1, time.pauses.size());
  }

  @Test
  void aWriteIsRepeatedAsTheSameRequestWithTheAttemptCounted() {
    service.refuse(BROKEN, UNKNOWN, DOWN, refusal(Code.DEADLINE_EXCEEDED, "", Map.of()));
    state.put("a", VALUE);
    assertEquals(List.of("1/0", "1/1", "1/2", "1/3", "1/4"), service.attempts());
    assertEquals(1, service.requests().stream().map(RequestId::getFirstSent).distinct().count());
  }

  @Test
  void whereNothingWasSentANewRequestBegins() {
    service.refuse(UNTOUCHED);
    state.put("a", VALUE);
    assertEquals(List.of("1/0", "2/0"), service.attempts());
  }

  @Test
  void aRequestOfWhichAnAttemptIsInDoubtStaysTheSame() {
    service.loseReply();
    service.refuse(UNTOUCHED);
    state.put("a", VALUE);
    assertEquals(List.of("1/0", "1/1", "1/2"), service.attempts());
  }

  static Stream<Status> final_() {
    return Stream.of(
        CONFLICT,
        refusal(Code.INTERNAL, "INTERNAL", Map.of()),
        refusal(Code.PERMISSION_DENIED, "PERMISSION_DENIED", Map.of()),
        refusal(Code.UNKNOWN, "OUTCOME_UNKNOWN", Map.of("for_good", "true")));
  }

  @ParameterizedTest
  @MethodSource("final_")
  void otherFailuresAreFinal(Status status) {
    service.refuse(status);
    assertThrows(KeepstateException.class, () -> state.put("a", VALUE));
    assertEquals(List.of("1/0"), service.attempts());
  }

  @Test
  void aJudgementOfARepeatIsTheAnswerToTheWrite() {
    service.refuse(UNKNOWN, CONFLICT);
    var error = assertThrows(ConflictException.class, () -> state.put("a", VALUE));
    assertEquals("e9", error.etag().orElseThrow());
  }

  @Test
  void whatDoesNotJudgeTheWriteLeavesALostAnswerUnknown() {
    service.loseReply();
    service.refuse(refusal(Code.PERMISSION_DENIED, "PERMISSION_DENIED", Map.of()));
    var error = assertThrows(OutcomeUnknownException.class, () -> state.put("a", VALUE));
    assertInstanceOf(PermissionDeniedException.class, error.getCause());
    assertFalse(error.nothingSent());
  }

  @Test
  void aReasonThatIsNotKnownJudgesNoEarlierAttempt() {
    service.loseReply();
    service.refuse(refusal(Code.ABORTED, "NEWER_THAN_THIS_CLIENT", Map.of()));
    assertThrows(OutcomeUnknownException.class, () -> state.put("a", VALUE));
  }

  @Test
  void anOutageThatLastsIsUnavailableUnlessAnAnswerWasLost() {
    Status[] outage = Collections.nCopies(200, DOWN).toArray(Status[]::new);
    service.refuse(outage);
    assertThrows(UnavailableException.class, () -> state.put("a", VALUE));
    assertTrue(paused().toMillis() > 8_000 && paused().toMillis() < 10_000, paused().toString());
    service.script.clear();
    service.loseReply();
    service.refuse(outage);
    assertThrows(OutcomeUnknownException.class, () -> state.put("a", VALUE));
  }

  @Test
  void closingEndsTheRepeats() {
    time.instead = state::close;
    service.refuse(DOWN, DOWN);
    assertThrows(UnavailableException.class, () -> state.get("a"));
    assertEquals(1, service.calls.size());
    assertThrows(IllegalStateException.class, () -> state.get("a"));
  }

  @Test
  void whoClosesTheClientWaitsForNoPause() throws Exception {
    beginAPause(Context.ROOT);
    state.close();
    var error = assertThrows(Exception.class, () -> pausing.get(10, TimeUnit.SECONDS));
    assertInstanceOf(UnavailableException.class, error.getCause());
  }

  @Test
  void whereTheCallThatIsServedEndsSoDoesAPause() throws Exception {
    Context.CancellableContext served = Context.current().withCancellation();
    beginAPause(served);
    served.cancel(null);
    var error = assertThrows(Exception.class, () -> pausing.get(10, TimeUnit.SECONDS));
    assertInstanceOf(CancelledException.class, error.getCause());
  }

  private final CompletableFuture<Object> pausing = new CompletableFuture<>();

  /** Makes a client, of which a call in this context pauses for half a minute. */
  private void beginAPause(Context context) throws Exception {
    CountDownLatch begun = new CountDownLatch(1);
    Time real =
        new Time() {
          @Override
          public long nanos() {
            return SYSTEM.nanos();
          }

          @Override
          public Instant wall() {
            return SYSTEM.wall();
          }

          @Override
          public void sleep(long nanos, CountDownLatch unless) throws InterruptedException {
            begun.countDown();
            SYSTEM.sleep(nanos, unless);
          }
        };
    service.refuse(after(DOWN, Duration.ofSeconds(30)));
    state.close();
    state =
        KeepstateClient.builder(service.address())
            .timeout(Duration.ofMinutes(1))
            .time(real)
            .build();
    new Thread(
            context.wrap(
                () -> {
                  try {
                    pausing.complete(state.get("a"));
                  } catch (KeepstateException error) {
                    pausing.completeExceptionally(error);
                  }
                }))
        .start();
    assertTrue(begun.await(30, TimeUnit.SECONDS));
  }

  @Test
  void anAttemptLeavesTimeForAnother() {
    Attempts attempts = new Attempts(time, Retry.DEFAULT, Duration.ofSeconds(9));
    assertEquals(6.0, attempts.next() / 1e9, 0.1);
    time.pass(Duration.ofMillis(5700));
    assertEquals(2.2, attempts.next() / 1e9, 0.1, "of 3.3 seconds two thirds");
    time.pass(Duration.ofMillis(500));
    assertEquals(2.8, attempts.next() / 1e9, 0.1, "less than one would be left");
    assertEquals(9.0, new Attempts(time, null, Duration.ofSeconds(9)).next() / 1e9, 0.1);
  }

  @Test
  void thePauseAfterManyFailuresIsDrawnOnce() {
    service.refuse(after(DOWN, Duration.ofMinutes(1)));
    var down = assertThrows(UnavailableException.class, () -> state.get("a"));
    var attempts =
        new Attempts(
            time, new Retry(Duration.ofSeconds(1), Duration.ofSeconds(1)), Duration.ofHours(1));
    long shortest = Long.MAX_VALUE;
    for (int each = 0; each < 50; each++) {
      long pause = attempts.pauseAfter(Collections.nCopies(1000, down)).orElseThrow();
      shortest = Math.min(shortest, pause);
    }
    assertTrue(shortest < 60_900_000_000L, "of fifty the shortest is " + shortest + " ns");
  }

  @Test
  void afterAnAttemptWhoseTimeWasUpASecondMustBeLeft() {
    service.refuse(refusal(Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", Map.of()));
    State hasty = state.timeout(Duration.ofMillis(900));
    assertThrows(DeadlineExceededException.class, () -> hasty.put("a", VALUE));
    assertEquals(List.of("1/0"), service.attempts());
  }

  @Test
  void anAnswerThatCannotBeReadIsAFaultAndOfAWriteAnUnknownOutcome() throws Exception {
    Server garbage =
        Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create())
            .addService(answering(new byte[] {-1, -1}, "Get", "Put"))
            .build()
            .start();
    try (KeepstateClient client =
        KeepstateClient.builder("localhost:" + garbage.getPort()).withoutRetry().build()) {
      var error = assertThrows(InternalException.class, () -> client.get("a"));
      assertEquals(Code.INTERNAL, error.code());
      var unknown = assertThrows(OutcomeUnknownException.class, () -> client.put("a", VALUE));
      assertEquals(Code.INTERNAL, unknown.code());
    } finally {
      garbage.shutdownNow();
    }
  }

  /** A service of these methods, whose answers are no messages. */
  private static ServerServiceDefinition answering(byte[] answer, String... methods) {
    var bytes =
        new MethodDescriptor.Marshaller<byte[]>() {
          @Override
          public InputStream stream(byte[] value) {
            return new ByteArrayInputStream(value);
          }

          @Override
          public byte[] parse(InputStream stream) {
            return new byte[0];
          }
        };
    String name = "keepstate.v1.StateService";
    var service = ServerServiceDefinition.builder(name);
    for (String method : methods) {
      service.addMethod(
          MethodDescriptor.newBuilder(bytes, bytes)
              .setType(MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(name + "/" + method)
              .build(),
          ServerCalls.asyncUnaryCall(
              (byte[] request, StreamObserver<byte[]> observer) -> {
                observer.onNext(answer);
                observer.onCompleted();
              }));
    }
    return service.build();
  }
}
