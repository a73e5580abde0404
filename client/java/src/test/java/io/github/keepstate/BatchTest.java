package io.github.keepstate;

import static io.github.keepstate.Refusals.BROKEN;
import static io.github.keepstate.Refusals.CONFLICT;
import static io.github.keepstate.Refusals.DOWN;
import static io.github.keepstate.Refusals.MISSING;
import static io.github.keepstate.Refusals.UNKNOWN;
import static io.github.keepstate.Refusals.UNTOUCHED;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.google.rpc.Status;
import io.github.keepstate.v1.BatchRequest;
import io.github.keepstate.v1.BatchResponse;
import io.github.keepstate.v1.DeleteResponse;
import io.github.keepstate.v1.PutResponse;
import io.github.keepstate.v1.TransactResponse;
import java.util.Collections;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;

/** Of a batch what failed for now is sent again, and nothing else. */
class BatchTest extends ServiceTest {
  private static final Value VALUE = Value.text("v");
  private static final Object PUT = new Object();

  /**
   * Has the next call, a batch, answered so: a status is an error, a boolean the answer to a
   * delete.
   */
  private void answer(Object... results) {
    BatchResponse.Builder response = BatchResponse.newBuilder();
    for (Object each : results) {
      var result = io.github.keepstate.v1.BatchResult.newBuilder();
      if (each instanceof Status status) {
        result.setError(status);
      } else if (each instanceof Boolean existed) {
        result.setDelete(DeleteResponse.newBuilder().setExisted(existed));
      } else {
        result.setPut(PutResponse.newBuilder().setEtag("e"));
      }
      response.addResults(result);
    }
    service.answer(response.build());
  }

  private List<List<String>> sent() {
    return service.calls(BatchRequest.class).stream()
        .map(
            batch ->
                Requests.of(batch).stream()
                    .map(each -> each.getNumber() + "/" + each.getAttempt())
                    .toList())
        .toList();
  }

  private static KeepstateException error(BatchResult result) {
    return assertInstanceOf(BatchResult.Failed.class, result).error();
  }

  @Test
  void onlyWhatFailedForNowIsRepeatedEachAsItsOwnRequest() {
    answer(UNKNOWN, PUT, CONFLICT, UNTOUCHED, true);
    answer(DOWN, PUT);
    answer(PUT);
    List<BatchResult> results =
        state.batch(
            List.of(
                Put.of("a", VALUE),
                Put.of("b", VALUE),
                Put.of("c", VALUE).ifEtag("e"),
                Put.of("d", VALUE),
                Delete.of("e")));
    assertEquals(new BatchResult.Written("e"), results.get(0));
    assertInstanceOf(ConflictException.class, error(results.get(2)));
    assertEquals(new BatchResult.Deleted(true), results.get(4));
    assertEquals(
        List.of(List.of("1/0", "2/0", "3/0", "4/0", "5/0"), List.of("1/1", "6/0"), List.of("1/2")),
        sent());
  }

  @Test
  void nothingOvertakesWhatCameAfterItOnItsRecord() {
    answer(DOWN, DOWN, PUT, DOWN);
    answer(PUT, PUT);
    List<BatchResult> results =
        state.batch(
            List.of(
                Put.of("a", VALUE), Put.of("b", VALUE), Put.of("a", VALUE), Put.of("b", VALUE)));
    assertInstanceOf(UnavailableException.class, error(results.get(0)));
    assertEquals(List.of("2/1", "4/1"), sent().get(1));
  }

  @Test
  void aMissingRecordIsAnAnswer() {
    answer(MISSING);
    assertEquals(
        List.of(new BatchResult.Read(Optional.empty())), state.batch(List.of(Get.of("a"))));
  }

  @Test
  void ofAReadNoOutcomeIsUnknown() {
    answer(UNKNOWN, DOWN);
    service.refuse(Collections.nCopies(200, BROKEN).toArray(Status[]::new));
    List<BatchResult> results = state.batch(List.of(Put.of("a", VALUE), Get.of("b")));
    assertInstanceOf(OutcomeUnknownException.class, error(results.get(0)));
    assertInstanceOf(UnavailableException.class, error(results.get(1)));
  }

  @Test
  void aBatchThatWasNeverAnsweredFailsAsAWhole() {
    service.refuse(BROKEN);
    service.refuse(Collections.nCopies(200, DOWN).toArray(Status[]::new));
    List<BatchOperation> operations = List.of(Get.of("a"), Put.of("a", VALUE));
    assertThrows(OutcomeUnknownException.class, () -> state.batch(operations));
  }

  @Test
  void aTransactionsAnswerOfAnotherLengthTellsNothing() {
    service.answer(TransactResponse.getDefaultInstance());
    List<Put> puts = List.of(Put.of("a", VALUE));
    assertThrows(OutcomeUnknownException.class, () -> state.transact(puts));
  }

  @Test
  void anAnswerOfAnotherLengthOrKindTellsNothing() {
    try (KeepstateClient once = KeepstateClient.builder(service.address()).withoutRetry().build()) {
      answer(PUT);
      List<BatchOperation> two = List.of(Put.of("a", VALUE), Put.of("b", VALUE));
      assertThrows(OutcomeUnknownException.class, () -> once.batch(two));
      answer(PUT, PUT);
      assertThrows(InternalException.class, () -> once.batch(List.of(Get.of("a"))));
      answer(PUT);
      BatchResult other = once.batch(List.of(Delete.of("a"))).get(0);
      assertInstanceOf(OutcomeUnknownException.class, error(other));
    }
    assertEquals(List.of(), state.batch(List.of()), "and nothing is sent");
  }
}
