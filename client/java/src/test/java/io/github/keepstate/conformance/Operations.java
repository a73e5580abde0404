package io.github.keepstate.conformance;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.github.keepstate.Append;
import io.github.keepstate.BatchOperation;
import io.github.keepstate.Check;
import io.github.keepstate.Consistency;
import io.github.keepstate.Delete;
import io.github.keepstate.Get;
import io.github.keepstate.Increment;
import io.github.keepstate.MergePatch;
import io.github.keepstate.Put;
import io.github.keepstate.Touch;
import io.github.keepstate.Update;
import io.github.keepstate.Value;
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
    Get get = Get.of(text(command, "key"));
    get = with(get, command, "namespace", (it, value) -> it.namespace(value.getAsString()));
    get = with(get, command, "store", (it, value) -> it.store(value.getAsString()));
    get = with(get, command, "consistency", (it, value) -> it.consistency(consistency(value)));
    return with(get, command, "slide_ttl_ms", (it, value) -> it.slideTtl(millis(value)));
  }

  static Put put(JsonObject command) {
    byte[] bytes = bytes(command.get("value"));
    Value value =
        command.has("content_type")
            ? Value.of(bytes, text(command, "content_type"))
            : Value.of(bytes);
    Put put = Put.of(text(command, "key"), value);
    put = with(put, command, "namespace", (it, name) -> it.namespace(name.getAsString()));
    put = with(put, command, "store", (it, name) -> it.store(name.getAsString()));
    put = with(put, command, "consistency", (it, name) -> it.consistency(consistency(name)));
    put = flag(put, command, "if_absent", Put::ifAbsent);
    put = flag(put, command, "if_exists", Put::ifExists);
    put = with(put, command, "if_etag", (it, etag) -> it.ifEtag(etag.getAsString()));
    put = with(put, command, "ttl_ms", (it, ttl) -> it.ttl(millis(ttl)));
    put = with(put, command, "expire_time", (it, at) -> it.expireAt(time(at)));
    return flag(put, command, "keep_expiry", Put::keepExpiry);
  }

  static Delete delete(JsonObject command) {
    refuse(command, "if_absent");
    Delete delete = Delete.of(text(command, "key"));
    delete = with(delete, command, "namespace", (it, name) -> it.namespace(name.getAsString()));
    delete = with(delete, command, "store", (it, name) -> it.store(name.getAsString()));
    delete = with(delete, command, "consistency", (it, name) -> it.consistency(consistency(name)));
    delete = flag(delete, command, "if_exists", Delete::ifExists);
    return with(delete, command, "if_etag", (it, etag) -> it.ifEtag(etag.getAsString()));
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
    touch = with(touch, command, "namespace", (it, name) -> it.namespace(name.getAsString()));
    touch = with(touch, command, "store", (it, name) -> it.store(name.getAsString()));
    touch = with(touch, command, "consistency", (it, name) -> it.consistency(consistency(name)));
    touch = flag(touch, command, "if_exists", Touch::ifExists);
    return with(touch, command, "if_etag", (it, etag) -> it.ifEtag(etag.getAsString()));
  }

  static Check check(JsonObject command) {
    String key = text(command, "key");
    long conditions = command.keySet().stream().filter(name -> name.startsWith("if_")).count();
    if (conditions != 1) {
      throw new IllegalArgumentException("a check has one condition");
    }
    Check check =
        command.has("if_etag")
            ? Check.etag(key, text(command, "if_etag"))
            : command.has("if_absent") ? Check.absent(key) : Check.exists(key);
    check = with(check, command, "namespace", (it, name) -> it.namespace(name.getAsString()));
    return with(check, command, "store", (it, name) -> it.store(name.getAsString()));
  }

  static Update update(JsonObject command) {
    String key = text(command, "key");
    switch (text(command, "do")) {
      case "increment" -> {
        Increment it = Increment.of(key, command.has("delta") ? number(command.get("delta")) : 1);
        it = with(it, command, "initial", (self, value) -> self.initial(number(value)));
        it = with(it, command, "minimum", (self, value) -> self.minimum(number(value)));
        it = with(it, command, "maximum", (self, value) -> self.maximum(number(value)));
        it = with(it, command, "namespace", (self, name) -> self.namespace(name.getAsString()));
        it = with(it, command, "store", (self, name) -> self.store(name.getAsString()));
        it = with(it, command, "consistency", (self, name) -> self.consistency(consistency(name)));
        it = flag(it, command, "if_absent", Increment::ifAbsent);
        it = flag(it, command, "if_exists", Increment::ifExists);
        it = with(it, command, "if_etag", (self, etag) -> self.ifEtag(etag.getAsString()));
        it = with(it, command, "ttl_ms", (self, ttl) -> self.ttl(millis(ttl)));
        it = with(it, command, "expire_time", (self, at) -> self.expireAt(time(at)));
        return flag(it, command, "keep_expiry", Increment::keepExpiry);
      }
      case "append" -> {
        var items = command.getAsJsonArray("items").spliterator();
        Append it =
            Append.of(key, StreamSupport.stream(items, false).map(Operations::bytes).toList());
        it = with(it, command, "max_length", (self, most) -> self.maxLength(most.getAsInt()));
        it = with(it, command, "namespace", (self, name) -> self.namespace(name.getAsString()));
        it = with(it, command, "store", (self, name) -> self.store(name.getAsString()));
        it = with(it, command, "consistency", (self, name) -> self.consistency(consistency(name)));
        it = flag(it, command, "if_absent", Append::ifAbsent);
        it = flag(it, command, "if_exists", Append::ifExists);
        it = with(it, command, "if_etag", (self, etag) -> self.ifEtag(etag.getAsString()));
        it = with(it, command, "ttl_ms", (self, ttl) -> self.ttl(millis(ttl)));
        it = with(it, command, "expire_time", (self, at) -> self.expireAt(time(at)));
        return flag(it, command, "keep_expiry", Append::keepExpiry);
      }
      case "merge_patch" -> {
        MergePatch it = MergePatch.of(key, bytes(command.get("patch")));
        it = with(it, command, "namespace", (self, name) -> self.namespace(name.getAsString()));
        it = with(it, command, "store", (self, name) -> self.store(name.getAsString()));
        it = with(it, command, "consistency", (self, name) -> self.consistency(consistency(name)));
        it = flag(it, command, "if_absent", MergePatch::ifAbsent);
        it = flag(it, command, "if_exists", MergePatch::ifExists);
        it = with(it, command, "if_etag", (self, etag) -> self.ifEtag(etag.getAsString()));
        it = with(it, command, "ttl_ms", (self, ttl) -> self.ttl(millis(ttl)));
        it = with(it, command, "expire_time", (self, at) -> self.expireAt(time(at)));
        return flag(it, command, "keep_expiry", MergePatch::keepExpiry);
      }
      default -> throw new AssertionError("no operation: " + command.get("do"));
    }
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

  private static Consistency consistency(JsonElement value) {
    return Consistency.valueOf(value.getAsString().toUpperCase(Locale.ROOT));
  }

  private static Instant time(JsonElement value) {
    return Instant.parse(value.getAsString());
  }

  private static byte[] bytes(JsonElement value) {
    return Base64.getDecoder().decode(value.getAsString());
  }
}
