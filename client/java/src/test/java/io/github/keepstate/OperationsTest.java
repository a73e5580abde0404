package io.github.keepstate;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.keepstate.v1.GetRequest;
import io.github.keepstate.v1.ListStoresResponse;
import io.github.keepstate.v1.PromiseStatus;
import io.github.keepstate.v1.PutRequest;
import io.github.keepstate.v1.PutResponse;
import io.github.keepstate.v1.Record;
import io.github.keepstate.v1.Store;
import io.github.keepstate.v1.TouchRequest;
import io.github.keepstate.v1.TouchResponse;
import io.github.keepstate.v1.UpdateRequest;
import io.github.keepstate.v1.UpdateResponse;
import java.time.Duration;
import java.time.Instant;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/** What operations say on the wire, and what comes back. */
class OperationsTest extends ServiceTest {
  private static final Value VALUE = Value.text("v");
  private static final Instant TIME = Instant.parse("2030-01-01T00:00:00.123456789Z");

  @Test
  void conditionsExcludeEachOtherAndSoDoExpiries() {
    Put put = Put.of("a", VALUE).ifAbsent().keepExpiry();
    assertThrows(IllegalArgumentException.class, put::ifExists);
    assertThrows(IllegalArgumentException.class, () -> put.ifEtag("e"));
    assertThrows(IllegalArgumentException.class, () -> put.ttl(Duration.ofHours(1)));
    assertThrows(IllegalArgumentException.class, () -> put.expireAt(TIME));
  }

  @Test
  void operationsAreImmutable() {
    Put plain = Put.of("a", VALUE);
    plain.ifAbsent().ttl(Duration.ofHours(1)).namespace("n");
    state.put(plain);
    PutRequest sent = service.calls(PutRequest.class).get(0);
    assertFalse(sent.hasPrecondition());
    assertFalse(sent.hasTtl());
    assertEquals("", sent.getName().getNamespace());
  }

  @Test
  void aPutSaysAllThatItWasTold() {
    service.answer(PutResponse.newBuilder().setEtag("new").build());
    String etag =
        state
            .namespace("view")
            .put(
                Put.of("a", Value.of(new byte[] {0, -1}, "x/y"))
                    .store("redis")
                    .ifEtag("e")
                    .expireAt(TIME)
                    .consistency(Consistency.EVENTUAL));
    assertEquals("new", etag);
    PutRequest sent = service.calls(PutRequest.class).get(0);
    assertEquals(new RecordName("redis", "view", "a"), RecordName.of(sent.getName()));
    assertEquals("x/y", sent.getContentType());
    assertArrayEquals(new byte[] {0, -1}, sent.getValue().toByteArray());
    assertEquals("e", sent.getPrecondition().getEtag());
    assertEquals(Times.message(TIME), sent.getExpireTime());
    assertEquals(Consistency.EVENTUAL.message, sent.getConsistency());
  }

  @Test
  void aMissingRecordIsAnAnswer() {
    assertEquals(Optional.empty(), state.get("a"));
    service.refuse(Refusals.refusal(io.grpc.Status.Code.NOT_FOUND, "", java.util.Map.of()));
    assertThrows(NotFoundException.class, () -> state.get("a"), "a proxy's is none");
  }

  @Test
  void valuesComeBackByteForByteAlsoEmptyOnes() {
    for (byte[] bytes : List.of(new byte[0], new byte[] {0, -1, -128, 10})) {
      state.put("a", Value.of(bytes));
      StateRecord found = state.get("a").orElseThrow();
      assertArrayEquals(bytes, found.value().bytes());
      assertEquals("application/octet-stream", found.value().contentType());
    }
  }

  @Test
  void whoChangesAnArrayChangesNoValue() {
    byte[] bytes = {1};
    Value value = Value.of(bytes);
    bytes[0] = 2;
    value.bytes()[0] = 3;
    assertEquals(Value.of(new byte[] {1}), value);
    assertEquals("Value[1 bytes, application/octet-stream]", value.toString());
  }

  @Test
  void timesComeBackExactlyAndAbsentOnesAsNone() {
    service.answer(
        io.github.keepstate.v1.GetResponse.newBuilder()
            .setRecord(Record.newBuilder().setUpdateTime(Times.message(TIME)))
            .build());
    StateRecord found = state.get(Get.of("a").slideTtl(Duration.ofMillis(1500))).orElseThrow();
    assertEquals(Optional.of(TIME), found.updateTime());
    assertEquals(Optional.empty(), found.createTime());
    GetRequest sent = service.calls(GetRequest.class).get(0);
    assertEquals(Duration.ofMillis(1500), Times.of(sent.getSlideTtl()));
  }

  @Test
  void aNegativeDurationHasTheFormOfTheWire() {
    var message = Times.message(Duration.ofMillis(-1500));
    assertEquals(-1, message.getSeconds());
    assertEquals(-500_000_000, message.getNanos());
  }

  @Test
  void aTouchMovesOrRemovesTheExpiry() {
    service.answer(
        TouchResponse.newBuilder().setEtag("e").setExpireTime(Times.message(TIME)).build());
    service.answer(TouchResponse.newBuilder().setEtag("e").build());
    assertEquals(
        new Touched("e", Optional.of(TIME)), state.touch(Touch.expireAt("a", TIME).ifEtag("e")));
    assertEquals(new Touched("e", Optional.empty()), state.touch(Touch.never("a")));
    List<TouchRequest> sent = service.calls(TouchRequest.class);
    assertEquals("e", sent.get(0).getPrecondition().getEtag());
    assertEquals(TouchRequest.ExpiryCase.EXPIRY_NOT_SET, sent.get(1).getExpiryCase());
  }

  @Test
  void numbersOf64BitsGoExactly() {
    service.answer(UpdateResponse.newBuilder().setRepeated(true).build());
    Updated updated =
        state.update(
            Increment.of("a", Long.MIN_VALUE)
                .initial(Long.MAX_VALUE)
                .minimum(-1)
                .maximum(Long.MAX_VALUE)
                .ifExists());
    assertEquals(new Updated(Optional.empty(), true), updated, "the record has gone since");
    UpdateRequest sent = service.calls(UpdateRequest.class).get(0);
    assertEquals(Long.MIN_VALUE, sent.getIncrement().getDelta());
    assertEquals(Long.MAX_VALUE, sent.getIncrement().getInitial());
    assertTrue(sent.getPrecondition().getExists());
    assertEquals(Long.MAX_VALUE, Value.json("9223372036854775807").number());
  }

  @Test
  void appendsAndPatchesGoAsTheyAre() {
    service.answer(UpdateResponse.getDefaultInstance());
    service.answer(UpdateResponse.getDefaultInstance());
    state.update(Append.of("a", "1", "\"x\"").maxLength(5).ttl(Duration.ofDays(1)));
    state.update(MergePatch.of("a", "{\"b\":null}"));
    List<UpdateRequest> sent = service.calls(UpdateRequest.class);
    assertEquals(2, sent.get(0).getAppend().getItemsCount());
    assertEquals(5, sent.get(0).getAppend().getMaxLength());
    assertEquals("{\"b\":null}", sent.get(1).getMergePatch().getPatch().toStringUtf8());
    assertThrows(IllegalArgumentException.class, () -> Append.of("a", "1").maxLength(0));
  }

  @Test
  void aKeepingThatIsNotKnownIsTold() {
    service.answer(
        ListStoresResponse.newBuilder()
            .addStores(
                Store.newBuilder()
                    .setName("s")
                    .addPromises(PromiseStatus.newBuilder().setNumber(1).setKeepingValue(99)))
            .build());
    StoreInfo.Promise promise = state.stores().get(0).promises().get(0);
    assertEquals(Keeping.UNKNOWN, promise.keeping());
  }

  @Test
  void aTimeoutIsMoreThanNothing() {
    assertThrows(IllegalArgumentException.class, () -> state.timeout(Duration.ZERO));
    assertThrows(
        IllegalArgumentException.class, () -> new Retry(Duration.ofSeconds(2), Duration.ZERO));
    state.timeout(Duration.ofSeconds(Long.MAX_VALUE)).get("a");
  }

  @Test
  void nullIsRefusedByNameBeforeAnythingIsSent() {
    Put put = Put.of("a", VALUE);
    refusesNull("address", () -> KeepstateClient.connect(null));
    refusesNull("operations[1]", () -> state.batch(Arrays.asList(put, null)));
    refusesNull("operations[1]", () -> state.transact(Arrays.asList(put, null)));
    refusesNull("operations", () -> state.batch(null));
    refusesNull("names[0]", () -> state.snapshot(Arrays.asList((RecordName) null)));
    refusesNull("function", () -> state.transaction(null));
    refusesNull("get", () -> state.get((Get) null));
    refusesNull("put", () -> state.put(null));
    refusesNull("delete", () -> state.delete((Delete) null));
    refusesNull("touch", () -> state.touch(null));
    refusesNull("update", () -> state.update(null));
    refusesNull("item", () -> Append.of("a", "1", null));
    refusesNull("key", () -> Get.of(null));
    refusesNull("file", () -> Tls.ofCa(null));
    refusesNull("limit", () -> new Retry(Duration.ZERO, null));
    assertEquals(List.of(), service.calls);
    assertEquals(0, service.timesAsked.get());
  }

  private static void refusesNull(String name, Executable call) {
    assertEquals(name, assertThrows(NullPointerException.class, call).getMessage());
  }

  @Test
  void whatUtf8CannotSayIsRefusedByName() {
    String half = "\ud83d";
    refusesText("key", () -> Put.of(half, VALUE));
    refusesText("key", () -> new RecordName("", "", half));
    refusesText("namespace", () -> state.namespace(half));
    refusesText("namespace", () -> Get.of("a").namespace(half));
    refusesText("store", () -> state.store(half));
    refusesText("etag", () -> Delete.of("a").ifEtag(half));
    refusesText("contentType", () -> Value.of(new byte[0], half));
    refusesText("text", () -> Value.text(half));
    refusesText("json", () -> Value.json(half));
    refusesText("item", () -> Append.of("a", half));
    refusesText("patch", () -> MergePatch.of("a", half));
    assertEquals("\ud83d\ude00", Value.text("\ud83d\ude00").utf8());
  }

  private static void refusesText(String name, Executable call) {
    var error = assertThrows(IllegalArgumentException.class, call);
    assertEquals(name + " has half of a surrogate pair", error.getMessage());
  }

  @Test
  void aValueThatIsNoNumberIsNotTold() {
    Value secret = Value.text("opensesame");
    var error = assertThrows(NumberFormatException.class, secret::number);
    assertFalse(error.getMessage().contains("opensesame"), error.getMessage());
  }
}
