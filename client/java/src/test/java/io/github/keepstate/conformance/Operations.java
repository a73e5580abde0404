package io.github.keepstate.conformance;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.github.keepstate.Access;
import io.github.keepstate.Append;
import io.github.keepstate.BatchOperation;
import io.github.keepstate.Check;
import io.github.keepstate.Consistency;
import io.github.keepstate.Delete;
import io.github.keepstate.Get;
import io.github.keepstate.Increment;
import io.github.keepstate.MergePatch;
import io.github.keepstate.Named;
import io.github.keepstate.Put;
import io.github.keepstate.Touch;
import io.github.keepstate.Update;
import io.github.keepstate.Value;
import io.github.keepstate.ValueWrite;
import io.github.keepstate.Write;
import java.time.Duration;
import java.time.Instant;
import java.util.Base64;
import java.util.Locale;
import java.util.function.BiFunction;
import java.util.function.UnaryOperator;
import java.util.stream.StreamSupport;

/**
 * The operations that commands tell. What the client's types cannot say is an
 * IllegalArgumentException here.
 */
final class Operations {
  private Operations() {}

  static BatchOperation of(JsonObject command) {
    return switch (text(command, "do")) {
      case "get" -> get(command);
      case "put" -> put(command);
      case "delete" -> delete(command);
      case "touch" -> touch(command);
      default -> update(command);
    };
  }

  static Get get(JsonObject command) {
    Get get = access(Get.of(text(command, "key")), command);
    return with(get, command, "slide_ttl_ms", (it, ttl) -> it.slideTtl(millis(ttl)));
  }

  static Put put(JsonObject command) {
    byte[] bytes = bytes(command.get("value"));
    Value value =
        command.has("content_type")
            ? Value.of(bytes, text(command, "content_type"))
            : Value.of(bytes);
    return valued(Put.of(text(command, "key"), value), command);
  }

  static Delete delete(JsonObject command) {
    refuse(command, "if_absent");
    return conditional(Delete.of(text(command, "key")), command);
  }

  static Touch touch(JsonObject command) {
    refuse(command, "if_absent");
    refuse(command, "keep_expiry");
    if (command.has("ttl_ms") && command.has("expire_time")) {
      throw new IllegalArgumentException("a touch has one expiry");
    }
    String key = text(command, "key");
    Touch touch = Touch.never(key);
    touch = with(touch, command, "ttl_ms", (it, ttl) -> Touch.ttl(key, millis(ttl)));
    touch = with(touch, command, "expire_time", (it, at) -> Touch.expireAt(key, time(at)));
    return conditional(touch, command);
  }

  static Check check(JsonObject command) {
    String key = text(command, "key");
    if (command.keySet().stream().filter(name -> name.startsWith("if_")).count() != 1) {
      throw new IllegalArgumentException("a check has one condition");
    }
    if (command.has("if_etag")) {
      return placed(Check.etag(key, text(command, "if_etag")), command);
    }
    return placed(command.has("if_absent") ? Check.absent(key) : Check.exists(key), command);
  }

  static Update update(JsonObject command) {
    String key = text(command, "key");
    switch (text(command, "do")) {
      case "increment" -> {
        Increment it = Increment.of(key, command.has("delta") ? number(command.get("delta")) : 1);
        it = with(it, command, "initial", (self, value) -> self.initial(number(value)));
        it = with(it, command, "minimum", (self, value) -> self.minimum(number(value)));
        it = with(it, command, "maximum", (self, value) -> self.maximum(number(value)));
        return valued(it, command);
      }
      case "append" -> {
        var items = command.getAsJsonArray("items").spliterator();
        Append it =
            Append.of(key, StreamSupport.stream(items, false).map(Operations::bytes).toList());
        it = with(it, command, "max_length", (self, most) -> self.maxLength(most.getAsInt()));
        return valued(it, command);
      }
      case "merge_patch" -> {
        return valued(MergePatch.of(key, bytes(command.get("patch"))), command);
      }
      default -> throw new AssertionError("no operation: " + command.get("do"));
    }
  }

  /** The same with the namespace and the store that the command says. */
  static <S extends Named<S>> S placed(S it, JsonObject command) {
    S placed = with(it, command, "namespace", (self, name) -> self.namespace(name.getAsString()));
    return with(placed, command, "store", (self, name) -> self.store(name.getAsString()));
  }

  private static <S extends Access<S>> S access(S it, JsonObject command) {
    return with(
        placed(it, command), command, "consistency", (self, as) -> self.consistency(level(as)));
  }

  private static <S extends Write<S>> S conditional(S it, JsonObject command) {
    S same = flag(access(it, command), command, "if_exists", Write::ifExists);
    return with(same, command, "if_etag", (self, etag) -> self.ifEtag(etag.getAsString()));
  }

  private static <S extends ValueWrite<S>> S valued(S it, JsonObject command) {
    S same = flag(conditional(it, command), command, "if_absent", ValueWrite::ifAbsent);
    same = with(same, command, "ttl_ms", (self, ttl) -> self.ttl(millis(ttl)));
    same = with(same, command, "expire_time", (self, at) -> self.expireAt(time(at)));
    return flag(same, command, "keep_expiry", ValueWrite::keepExpiry);
  }

  static String text(JsonObject command, String field) {
    return command.get(field).getAsString();
  }

  static Duration millis(JsonElement value) {
    return Duration.ofMillis(value.getAsLong());
  }

  /** A number of 64 bits, as decimal text; more are a usage error. */
  static long number(JsonElement value) {
    return Long.parseLong(value.getAsString());
  }

  private static <T> T with(
      T it, JsonObject command, String field, BiFunction<T, JsonElement, T> set) {
    return command.has(field) ? set.apply(it, command.get(field)) : it;
  }

  private static <T> T flag(T it, JsonObject command, String field, UnaryOperator<T> set) {
    return command.has(field) && command.get(field).getAsBoolean() ? set.apply(it) : it;
  }

  private static void refuse(JsonObject command, String field) {
    if (command.has(field)) {
      throw new IllegalArgumentException(command.get("do") + " has no " + field);
    }
  }

  private static Consistency level(JsonElement value) {
    return Consistency.valueOf(value.getAsString().toUpperCase(Locale.ROOT));
  }

  private static Instant time(JsonElement value) {
    return Instant.parse(value.getAsString());
  }

  private static byte[] bytes(JsonElement value) {
    return Base64.getDecoder().decode(value.getAsString());
  }
}
