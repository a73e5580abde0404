package io.github.keepstate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.keepstate.v1.PutResponse;
import io.grpc.Context;
import io.grpc.Metadata;
import io.grpc.Status.Code;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Addresses, tokens, metadata, connections that break, and callers that go. */
class ConnectingTest extends ServiceTest {
  private static final Value VALUE = Value.text("v");

  private String header(String name) {
    Metadata last = service.metadata.get(service.metadata.size() - 1);
    return last.get(Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER));
  }

  private static void await(CountDownLatch latch) {
    try {
      assertTrue(latch.await(30, TimeUnit.SECONDS));
    } catch (InterruptedException impossible) {
      throw new AssertionError(impossible);
    }
  }

  private static int unusedPort() throws IOException {
    try (ServerSocket socket = new ServerSocket(0)) {
      return socket.getLocalPort();
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "localhost",
        "http://localhost:7400",
        "dns:///localhost:7400",
        "localhost:",
        "localhost:0",
        "localhost:65536",
        ":7400",
        "::1:7400",
        "a b:7400",
        "",
        "user@localhost:7400",
        "my_service:7400",
        "ä.example:7400",
        "a..b:7400",
        "a,b:7400",
        "[::::]:7400"
      })
  void anAddressIsHostAndPort(String address) {
    var error =
        assertThrows(IllegalArgumentException.class, () -> KeepstateClient.connect(address));
    assertTrue(error.getMessage().contains("address"), error.getMessage());
  }

  @Test
  void aTokenAndMetadataAreSentWithEveryCall() {
    try (KeepstateClient client =
        KeepstateClient.builder(service.address())
            .token("t0ken")
            .metadata("dapr-app-id", "keepstate")
            .build()) {
      client.put("a", VALUE);
      client.get("a");
    }
    assertEquals(3, service.metadata.size(), "the question after the time is the first");
    for (Metadata each : service.metadata) {
      assertEquals(
          "Bearer t0ken",
          each.get(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER)));
    }
    assertEquals("keepstate", header("dapr-app-id"));
    assertTrue(header("user-agent").startsWith("keepstate-java/0.1.0 "), header("user-agent"));
  }

  @Test
  void aTokenFunctionIsAskedBeforeEachAttempt() {
    AtomicInteger asked = new AtomicInteger();
    try (KeepstateClient client =
        KeepstateClient.builder(service.address())
            .token(() -> "t" + asked.incrementAndGet())
            .time(time)
            .build()) {
      service.refuse(Refusals.DOWN);
      client.get("a");
      assertEquals("Bearer t2", header("authorization"));
    }
  }

  @Test
  void whereTheTokenFunctionFailsNothingIsSentAndItsWordsAreNotTold() {
    try (KeepstateClient client =
        KeepstateClient.builder(service.address())
            .token(
                () -> {
                  throw new IllegalStateException("the secret");
                })
            .build()) {
      var error = assertThrows(UnauthenticatedException.class, () -> client.put("a", VALUE));
      assertTrue(error.nothingSent());
      assertFalse(error.getMessage().contains("secret"));
      assertInstanceOf(IllegalStateException.class, error.getCause());
    }
    assertEquals(List.of(), service.metadata);
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "two words", "line\nbreak", "päss"})
  void aTokenThatNoHeaderCanHoldIsRefused(String token) {
    var builder = KeepstateClient.builder("localhost:7400");
    var error = assertThrows(IllegalArgumentException.class, () -> builder.token(token));
    assertEquals("token must be printable ASCII without spaces", error.getMessage());
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "authorization",
        "Authorization",
        "grpc-timeout",
        "keepstate-time",
        "content-type",
        "te",
        "connection",
        "a b",
        "x-bin",
        ""
      })
  void metadataThatIsTheClientsOwnOrThatGrpcCannotSendIsRefused(String key) {
    var builder = KeepstateClient.builder("localhost:7400");
    assertThrows(IllegalArgumentException.class, () -> builder.metadata(key, "v"));
    assertThrows(IllegalArgumentException.class, () -> builder.metadata("ok", "line\nbreak"));
  }

  @ParameterizedTest
  @ValueSource(strings = {"example.com:1", "128.0.0.1:1", "localhost.example.com:1", "[::2]:1"})
  void aTokenGoesOverNoNetworkInPlaintext(String address) {
    var builder = KeepstateClient.builder(address).token("t");
    assertThrows(IllegalArgumentException.class, builder::build);
    builder.tls(Tls.ofPublicCas()).build().close();
  }

  @ParameterizedTest
  @ValueSource(strings = {"localhost:1", "LOCALHOST:1", "127.1.2.3:1", "[::1]:1"})
  void aTokenMayGoOverLoopback(String address) {
    KeepstateClient.builder(address).token("t").build().close();
  }

  @Test
  void filesOfTlsThatAreNotWhatTheyShouldBeAreNamed() {
    var builder = KeepstateClient.builder("localhost:1").tls(Tls.ofCa(Path.of("/nowhere/ca.pem")));
    var error = assertThrows(IllegalArgumentException.class, builder::build);
    assertTrue(error.getMessage().startsWith("tls.ca cannot be read"), error.getMessage());
    assertThrows(
        IllegalArgumentException.class,
        () ->
            new Tls(
                Optional.empty(), Optional.of(Path.of("c")), Optional.empty(), Optional.empty()));
  }

  @Test
  void whereNobodyListensNothingWasSent() throws IOException {
    try (KeepstateClient nobody =
        KeepstateClient.builder("localhost:" + unusedPort()).withoutRetry().build()) {
      var error = assertThrows(UnavailableException.class, () -> nobody.put("a", VALUE));
      assertTrue(error.nothingSent());
      assertTrue(error.getMessage().contains("Connection refused"), error.getMessage());
    }
  }

  @Test
  void whatAFullConnectionHoldsMayYetArriveAlsoWhenItsTimeWasUp() throws Exception {
    try (ServerSocket listening = new ServerSocket()) {
      listening.setReceiveBufferSize(4096);
      listening.bind(new InetSocketAddress("127.0.0.1", 0));
      try (KeepstateClient client =
          KeepstateClient.builder("127.0.0.1:" + listening.getLocalPort())
              .withoutRetry()
              .metadata("large", "x".repeat(200_000))
              .build()) {
        var unanswered =
            CompletableFuture.supplyAsync(() -> client.timeout(Duration.ofSeconds(30)).get("a"));
        try (Socket service = listening.accept()) {
          service.getOutputStream().write(new byte[] {0, 0, 0, 4, 0, 0, 0, 0, 0}); // its settings
          Set<String> notSent = new HashSet<>();
          for (int i = 0; i < 60; i++) {
            String key = "key-" + i + "-";
            State hasty = client.timeout(Duration.ofMillis(30));
            var error = assertThrows(DeadlineExceededException.class, () -> hasty.get(key));
            if (error.nothingSent()) {
              notSent.add(key);
            }
          }
          String arrived = notSent.isEmpty() ? "" : drained(service);
          notSent.removeIf(key -> !arrived.contains(key));
          assertEquals(Set.of(), notSent, "it was said that nothing was sent, and they arrived");
        }
        assertThrows(Exception.class, () -> unanswered.get(30, TimeUnit.SECONDS));
      }
    }
  }

  /** What has come, until nothing more does. */
  private static String drained(Socket socket) throws IOException {
    socket.setSoTimeout(1000);
    ByteArrayOutputStream all = new ByteArrayOutputStream();
    byte[] some = new byte[1 << 16];
    try {
      for (int n; (n = socket.getInputStream().read(some)) > 0; ) {
        all.write(some, 0, n);
      }
    } catch (SocketTimeoutException end) {
      // That was all.
    }
    return all.toString(StandardCharsets.ISO_8859_1);
  }

  @Test
  void aConnectionThatBreaksUnderAWriteLeavesItUnknown() throws Exception {
    CountDownLatch arrived = new CountDownLatch(1);
    CountDownLatch over = new CountDownLatch(1);
    service.script.add(
        message -> {
          arrived.countDown();
          await(over);
          return null;
        });
    try (KeepstateClient once = KeepstateClient.builder(service.address()).withoutRetry().build()) {
      var write = CompletableFuture.supplyAsync(() -> once.put("a", VALUE));
      await(arrived);
      service.end();
      var error = assertThrows(Exception.class, () -> write.get(30, TimeUnit.SECONDS));
      var unknown = assertInstanceOf(OutcomeUnknownException.class, error.getCause());
      assertFalse(unknown.nothingSent());
    } finally {
      over.countDown();
    }
  }

  @Test
  void aConnectionIsMadeAnewAfterMoments() throws Exception {
    AtomicInteger connections = new AtomicInteger();
    try (ServerSocket hangsUp = new ServerSocket(0);
        KeepstateClient client =
            KeepstateClient.builder("127.0.0.1:" + hangsUp.getLocalPort()).build()) {
      CompletableFuture<Void> fourth = new CompletableFuture<>();
      Thread accepting =
          new Thread(
              () -> {
                try {
                  while (connections.incrementAndGet() < 5) {
                    hangsUp.accept().close();
                  }
                  fourth.complete(null);
                } catch (IOException closed) {
                  fourth.completeExceptionally(closed);
                }
              });
      accepting.start();
      State hasty = client.timeout(Duration.ofMillis(1));
      assertThrows(KeepstateException.class, () -> hasty.get("a"));
      // After 0.1, 0.2 and 0.4 s; by gRPC's own backoff it would be some 5 s, and would grow to 2
      // min.
      fourth.get(3, TimeUnit.SECONDS);
    }
  }

  @Test
  void aMessageThatIsTooLargeIsNotSent() {
    var error =
        assertThrows(
            ResourceExhaustedException.class, () -> state.put("a", Value.of(new byte[17 << 20])));
    assertTrue(error.nothingSent());
    assertEquals(List.of(), service.calls);
  }

  @Test
  void messagesOfSixteenMebibytesGoBothWays() {
    Value large = Value.of(new byte[(16 << 20) - 1000]);
    state.put("a", large);
    assertEquals(large, state.get("a").orElseThrow().value());
  }

  @Test
  void interruptingACallEndsItAndTheServiceIsTold() throws Exception {
    CountDownLatch arrived = new CountDownLatch(1);
    CountDownLatch told = new CountDownLatch(1);
    service.script.add(
        message -> {
          Context.current().addListener(context -> told.countDown(), Runnable::run);
          arrived.countDown();
          await(told);
          return PutResponse.getDefaultInstance();
        });
    CompletableFuture<KeepstateException> ended = new CompletableFuture<>();
    Thread thread =
        new Thread(
            () -> {
              try {
                state.put("a", VALUE);
              } catch (KeepstateException error) {
                assertTrue(Thread.currentThread().isInterrupted());
                ended.complete(error);
              }
            });
    thread.start();
    await(arrived);
    thread.interrupt();
    var error = assertInstanceOf(OutcomeUnknownException.class, ended.get(5, TimeUnit.SECONDS));
    assertEquals(Code.CANCELLED, error.code());
    await(told);
    assertEquals(List.of("1/0"), service.attempts(), "and it is not repeated");
  }

  @Test
  void aThreadThatIsInterruptedSendsNothing() {
    Thread.currentThread().interrupt();
    var error = assertThrows(CancelledException.class, () -> state.put("a", VALUE));
    assertTrue(Thread.interrupted());
    assertTrue(error.nothingSent());
    assertEquals(List.of(), service.calls);
  }

  @Test
  void interruptingAPauseEndsTheCall() {
    time.instead = Thread.currentThread()::interrupt;
    service.refuse(Refusals.DOWN);
    var error = assertThrows(CancelledException.class, () -> state.put("a", VALUE));
    assertTrue(Thread.interrupted());
    assertInstanceOf(UnavailableException.class, error.getCause());
    service.refuse(Refusals.DOWN);
    assertThrows(CancelledException.class, () -> state.batch(List.of(Put.of("a", VALUE))));
    assertTrue(Thread.interrupted());
    service.refuse(Refusals.UNKNOWN);
    assertThrows(OutcomeUnknownException.class, () -> state.put("a", VALUE));
    assertTrue(Thread.interrupted());
    assertEquals(3, service.calls.size());
  }

  @Test
  void interruptingAPauseEndsATransaction() {
    time.instead = Thread.currentThread()::interrupt;
    service.refuse(Refusals.refusal(Code.ABORTED, "TRANSACTION_CONFLICT", java.util.Map.of()));
    assertThrows(
        CancelledException.class,
        () ->
            state.transaction(
                tx -> {
                  tx.put("a", VALUE);
                  return null;
                }));
    assertTrue(Thread.interrupted());
    assertEquals(1, service.calls.size());
  }

  @Test
  void closingCutsCallsShort() throws Exception {
    CountDownLatch arrived = new CountDownLatch(1);
    CountDownLatch over = new CountDownLatch(1);
    service.script.add(
        message -> {
          arrived.countDown();
          await(over);
          return null;
        });
    var read = CompletableFuture.supplyAsync(() -> state.get("a"));
    await(arrived);
    state.close();
    var error = assertThrows(Exception.class, () -> read.get(5, TimeUnit.SECONDS));
    over.countDown();
    assertInstanceOf(CancelledException.class, error.getCause());
  }

  @Test
  void theTimeIsAskedForBeforeTheFirstWriteOnly() {
    service.clock = () -> Instant.now().plus(Duration.ofDays(400)).toString();
    state.put("a", VALUE);
    state.put("a", VALUE);
    assertEquals(1, service.timesAsked.get());
    long apart =
        service.requests().get(0).getFirstSent().getSeconds() - Instant.now().getEpochSecond();
    assertEquals(Duration.ofDays(400).toSeconds(), apart, 5);
    time.suspend(Duration.ofMinutes(1));
    state.put("a", VALUE);
    assertEquals(2, service.timesAsked.get(), "the machine has slept");
  }

  @Test
  void aReadTellsTheTimeToo() {
    service.refuse(Refusals.DOWN);
    state.get("a");
    state.put("a", VALUE);
    assertEquals(0, service.timesAsked.get());
  }

  @Test
  void ofSeveralFirstWritesOneAsks() {
    List.of("a", "b", "c", "d").parallelStream().forEach(key -> state.put(key, VALUE));
    assertEquals(1, service.timesAsked.get());
  }
}
