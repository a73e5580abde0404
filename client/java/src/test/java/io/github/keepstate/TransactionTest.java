package io.github.keepstate;

import static io.github.keepstate.Refusals.refusal;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.keepstate.v1.Check;
import io.github.keepstate.v1.GetRequest;
import io.github.keepstate.v1.Precondition;
import io.github.keepstate.v1.PutRequest;
import io.github.keepstate.v1.SnapshotRequest;
import io.github.keepstate.v1.TransactRequest;
import io.grpc.Status.Code;
import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;

/** What a transaction's function reads, what its writes become, and when it runs again. */
class TransactionTest extends ServiceTest {
  private static final Value ONE = Value.json("1");
  private static final Value TWO = Value.json("2");

  private TransactRequest sent() {
    List<TransactRequest> all = service.calls(TransactRequest.class);
    return all.get(all.size() - 1);
  }

  private static Precondition etag(String etag) {
    return Precondition.newBuilder().setEtag(etag).build();
  }

  private static Precondition absent() {
    return Precondition.newBuilder().setAbsent(true).build();
  }

  @Test
  void aRecordIsReadOnceAndReadAgainAsItWas() {
    state.put("a", ONE);
    assertThrows(
        ConflictException.class,
        () ->
            state.transaction(
                1,
                tx -> {
                  Optional<StateRecord> first = tx.get("a");
                  state.put("a", TWO);
                  assertEquals(first, tx.get("a"));
                  assertTrue(tx.get("none").isEmpty());
                  tx.put("b", ONE);
                  return null;
                }));
    assertEquals(2, service.calls(GetRequest.class).size());
  }

  @Test
  void whatWasReadBecomesTheConditionOfTheCommit() {
    String etag = state.put("a", ONE);
    int result =
        state.transaction(
            tx -> {
              tx.get("a");
              tx.get("limit");
              tx.get("new");
              tx.put("a", TWO);
              tx.put(Put.of("new", TWO).ttl(Duration.ofHours(1)));
              tx.update(Increment.of("count", 1));
              return 7;
            });
    assertEquals(7, result);
    Map<String, Precondition> puts = new java.util.HashMap<>();
    for (PutRequest put : sent().getPutsList()) {
      puts.put(put.getName().getKey(), put.getPrecondition());
    }
    assertEquals(Map.of("a", etag(etag), "new", absent()), puts);
    assertEquals(
        List.of(absent()), sent().getChecksList().stream().map(Check::getPrecondition).toList());
    assertFalse(sent().getUpdates(0).hasPrecondition());
    assertEquals(List.of("1/0", "2/0"), service.attempts(), "one request for the whole");
    assertEquals("2", state.get("a").orElseThrow().value().utf8());
  }

  @Test
  void itsOwnWritesAreReadAsWritten() {
    state.put("gone", ONE);
    state.transaction(
        tx -> {
          tx.put("a", ONE);
          assertEquals(ONE, tx.get("a").orElseThrow().value());
          tx.delete("gone");
          assertTrue(tx.get("gone").isEmpty());
          tx.update(Increment.of("count", 1));
          assertThrows(IllegalStateException.class, () -> tx.get("count"));
          return null;
        });
    assertEquals(List.of(), service.calls(GetRequest.class));
  }

  @Test
  void theLastOfTwoWritesCountsOnTheConditionsOfTheFirst() {
    state.transaction(
        tx -> {
          tx.put(Put.of("a", ONE).ifAbsent().ttl(Duration.ofHours(1)));
          tx.put(Put.of("a", TWO).keepExpiry());
          tx.put("b", ONE);
          tx.delete("b");
          tx.put(Put.of("c", ONE).ifAbsent());
          tx.delete("c");
          tx.delete("d");
          tx.put(Put.of("d", ONE).keepExpiry());
          return null;
        });
    PutRequest a = sent().getPuts(0);
    assertEquals(absent(), a.getPrecondition());
    assertEquals(3600, a.getTtl().getSeconds());
    assertEquals("2", a.getValue().toStringUtf8());
    assertFalse(sent().getPuts(1).getKeepExpiry(), "a deleted record has no expiry to keep");
    assertEquals("b", sent().getDeletes(0).getName().getKey());
    assertEquals("c", sent().getChecks(0).getName().getKey(), "to be absent, and to stay so");
  }

  @Test
  void whatCannotBeOneWriteIsRefused() {
    state.transaction(
        tx -> {
          tx.put("a", ONE);
          Put conditional = Put.of("a", TWO).ifExists();
          assertThrows(IllegalStateException.class, () -> tx.put(conditional));
          assertThrows(IllegalStateException.class, () -> tx.update(Increment.of("a", 1)));
          tx.update(Append.of("b", "1"));
          assertThrows(IllegalStateException.class, () -> tx.put("b", TWO));
          return null;
        });
  }

  @Test
  void aFunctionThatOthersOvertakeRunsAgain() {
    state.put("a", ONE);
    int[] runs = {0};
    state.transaction(
        tx -> {
          long number = tx.get("a").orElseThrow().value().number();
          if (runs[0]++ == 0) {
            state.put("a", Value.json("5"));
          }
          tx.put("a", Value.json(Long.toString(number + 1)));
          return null;
        });
    assertEquals("6", state.get("a").orElseThrow().value().utf8());
    assertEquals(2, runs[0]);
    assertEquals(1, time.pauses.size());
    assertTrue(time.pauses.get(0).compareTo(Duration.ofMillis(50)) <= 0);
  }

  @Test
  void theServiceMaySayThatOthersCameBetween() {
    service.refuse(refusal(Code.ABORTED, "TRANSACTION_CONFLICT", Map.of()));
    state.transaction(
        tx -> {
          tx.put("a", ONE);
          return null;
        });
    assertEquals(List.of("1/0", "2/0"), service.attempts());
  }

  @Test
  void triesAreLimited() {
    state.put("a", ONE);
    int[] runs = {0};
    var error =
        assertThrows(
            ConflictException.class,
            () ->
                state.transaction(
                    3,
                    tx -> {
                      runs[0]++;
                      tx.get("a");
                      state.put("a", TWO);
                      tx.put("b", ONE);
                      return null;
                    }));
    assertEquals("a", error.name().orElseThrow().key());
    assertEquals(3, runs[0]);
    assertThrows(IllegalArgumentException.class, () -> state.transaction(0, tx -> null));
  }

  @Test
  void allRunsShareOneTime() {
    var error =
        assertThrows(
            DeadlineExceededException.class,
            () ->
                state.transaction(
                    tx -> {
                      tx.put("a", ONE);
                      time.pass(Duration.ofSeconds(11));
                      return null;
                    }));
    assertTrue(error.nothingSent());
    assertEquals(List.of(), service.calls);
  }

  @Test
  void aFailedConditionOfTheCallersOwnIsNotTriedAgain() {
    String etag = state.put("a", ONE);
    for (boolean read : List.of(false, true)) {
      var exists =
          assertThrows(
              AlreadyExistsException.class,
              () ->
                  state.transaction(
                      tx -> {
                        if (read) {
                          tx.get("a");
                        }
                        tx.put(Put.of("a", TWO).ifAbsent());
                        return null;
                      }));
      assertEquals(etag, exists.etag().orElseThrow());
      assertThrows(
          NotFoundException.class,
          () ->
              state.transaction(
                  tx -> {
                    if (read) {
                      tx.get("none");
                    }
                    tx.delete(Delete.of("none").ifExists());
                    return null;
                  }));
      var gone =
          assertThrows(
              ConflictException.class,
              () ->
                  state.transaction(
                      tx -> {
                        if (read) {
                          tx.get("none");
                        }
                        tx.put(Put.of("none", ONE).ifEtag("old"));
                        return null;
                      }));
      assertTrue(gone.etag().isEmpty());
    }
    assertEquals(List.of(), time.pauses);
  }

  @Test
  void whatTheFunctionThrowsPassesThroughAndNothingIsSent() {
    var error =
        assertThrows(
            IOException.class,
            () ->
                state.transaction(
                    tx -> {
                      tx.put("a", ONE);
                      throw new IOException("no such account");
                    }));
    assertEquals("no such account", error.getMessage());
    assertEquals(List.of(), service.calls);
  }

  @Test
  void severalRecordsThatWereOnlyReadAreReadOnceMoreAsOfOneMoment() {
    state.put("a", ONE);
    int[] runs = {0};
    state.transaction(
        tx -> {
          tx.get("a");
          tx.get("b");
          if (runs[0]++ == 0) {
            state.put("b", ONE);
          }
          return null;
        });
    assertEquals(2, runs[0]);
    assertEquals(2, service.calls(SnapshotRequest.class).size());
    assertEquals(List.of(), service.calls(TransactRequest.class));
  }

  @Test
  void nothingIsSentForOneRecordThatWasOnlyReadOrNone() {
    assertTrue(state.<Boolean, RuntimeException>transaction(tx -> tx.get("a").isEmpty()));
    assertEquals("nothing", state.<String, RuntimeException>transaction(tx -> "nothing"));
    assertEquals(1, service.calls.size());
  }

  @Test
  void aTransactionThatIsOverTakesNothingMore() {
    Transaction over = state.<Transaction, RuntimeException>transaction(tx -> tx);
    assertThrows(IllegalStateException.class, () -> over.put("a", ONE));
    assertThrows(IllegalStateException.class, () -> over.get("a"));
  }

  @Test
  void itReachesOtherStoresAndNamespaces() {
    state
        .namespace("chat")
        .transaction(
            tx -> {
              tx.put("a", ONE);
              tx.store("redis").put("a", ONE);
              tx.namespace("other").put(Put.of("a", ONE).store("redis"));
              return null;
            });
    List<RecordName> names =
        sent().getPutsList().stream().map(put -> RecordName.of(put.getName())).toList();
    assertEquals(
        List.of(
            new RecordName("", "chat", "a"),
            new RecordName("redis", "chat", "a"),
            new RecordName("redis", "other", "a")),
        names);
  }

  @Test
  void aReadThatWouldMoveAnExpiryIsRefused() {
    Get sliding = Get.of("a").slideTtl(Duration.ofHours(1));
    assertThrows(
        IllegalArgumentException.class, () -> state.transaction(tx -> tx.get(sliding).isPresent()));
    assertEquals(List.of(), service.calls);
  }
}
