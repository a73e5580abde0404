package io.github.keepstate.conformance;

import io.github.keepstate.AlreadyExistsException;
import io.github.keepstate.BatchResult;
import io.github.keepstate.ConflictException;
import io.github.keepstate.InvalidArgumentException;
import io.github.keepstate.KeepstateException;
import io.github.keepstate.NotFoundException;
import io.github.keepstate.OutcomeUnknownException;
import io.github.keepstate.RecordName;
import io.github.keepstate.ResourceExhaustedException;
import io.github.keepstate.StateRecord;
import io.github.keepstate.StoreInfo;
import io.github.keepstate.Touched;
import io.github.keepstate.UnavailableException;
import io.github.keepstate.UnsupportedByStoreException;
import io.github.keepstate.UpdateNotApplicableException;
import io.github.keepstate.Updated;
import java.time.Instant;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;

/** What the client answers, as the suite reads it. */
final class Answers {
  private Answers() {}

  static Map<String, Object> one(String field, Object value) {
    Map<String, Object> answer = new LinkedHashMap<>();
    answer.put(field, value);
    return answer;
  }

  static Map<String, Object> record(Optional<StateRecord> found) {
    if (found.isEmpty()) {
      return null;
    }
    StateRecord record = found.get();
    Map<String, Object> answer = name(record.name());
    answer.put("value", Base64.getEncoder().encodeToString(record.value().bytes()));
    answer.put("content_type", record.value().contentType());
    answer.put("etag", record.etag());
    answer.put("create_time", time(record.createTime()));
    answer.put("update_time", time(record.updateTime()));
    answer.put("expire_time", time(record.expireTime()));
    return answer;
  }

  static Map<String, Object> touched(Touched touched) {
    Map<String, Object> answer = one("etag", touched.etag());
    answer.put("expire_time", time(touched.expireTime()));
    return answer;
  }

  static Map<String, Object> updated(Updated updated) {
    Map<String, Object> answer = one("record", record(updated.record()));
    answer.put("repeated", updated.repeated());
    return answer;
  }

  static Map<String, Object> result(BatchResult result) {
    if (result instanceof BatchResult.Failed failed) {
      return one("error", error(failed.error()));
    }
    if (result instanceof BatchResult.Read read) {
      return one("ok", one("record", record(read.record())));
    }
    if (result instanceof BatchResult.Written written) {
      return one("ok", one("etag", written.etag()));
    }
    if (result instanceof BatchResult.Deleted deleted) {
      return one("ok", one("existed", deleted.existed()));
    }
    return one(
        "ok", result instanceof Touched touched ? touched(touched) : updated((Updated) result));
  }

  static Map<String, Object> store(StoreInfo store) {
    Map<String, Object> answer = one("name", store.name());
    answer.put("component_type", store.componentType());
    answer.put("is_default", store.isDefault());
    answer.put("durability", store.durability());
    answer.put("promises", store.promises().stream().map(Answers::promise).toList());
    return answer;
  }

  private static Map<String, Object> promise(StoreInfo.Promise promise) {
    Map<String, Object> answer = one("number", promise.number());
    answer.put("title", promise.title());
    answer.put("keeping", promise.keeping().name().toLowerCase(Locale.ROOT));
    answer.put("reason", promise.reason());
    return answer;
  }

  static Map<String, Object> error(Exception error) {
    Map<String, Object> answer = one("message", String.valueOf(error.getMessage()));
    if (!(error instanceof KeepstateException failure)) {
      boolean usage =
          error instanceof IllegalArgumentException
              || error instanceof IllegalStateException
              || error instanceof NullPointerException;
      answer.put("type", usage ? "Usage" : error.getClass().getSimpleName());
      return answer;
    }
    answer.put("type", failure.getClass().getSimpleName().replace("Exception", ""));
    answer.put("code", failure.code().name());
    answer.put("reason", failure.reason());
    answer.put("correlation_id", failure.correlationId());
    answer.put("nothing_sent", failure.nothingSent());
    if (failure instanceof NotFoundException missing) {
      answer.put("record", missing.name().map(Answers::name).orElse(null));
    } else if (failure instanceof AlreadyExistsException exists) {
      answer.put("record", exists.name().map(Answers::name).orElse(null));
      answer.put("etag", exists.etag().orElse(null));
    } else if (failure instanceof ConflictException conflict) {
      answer.put("record", conflict.name().map(Answers::name).orElse(null));
      answer.put("etag", conflict.etag().orElse(null));
    } else if (failure instanceof InvalidArgumentException invalid) {
      answer.put("violations", violations(invalid));
    } else if (failure instanceof UnsupportedByStoreException unsupported) {
      answer.put("capability", unsupported.capability());
    } else if (failure instanceof UpdateNotApplicableException unfit) {
      answer.put("record", unfit.name().map(Answers::name).orElse(null));
    } else if (failure instanceof UnavailableException unavailable) {
      unavailable.retryAfter().ifPresent(time -> answer.put("retry_after_ms", time.toMillis()));
    } else if (failure instanceof ResourceExhaustedException exhausted) {
      exhausted.retryAfter().ifPresent(time -> answer.put("retry_after_ms", time.toMillis()));
      answer.put("limit", exhausted.limit());
    } else if (failure instanceof OutcomeUnknownException unknown) {
      answer.put("for_good", unknown.forGood());
    }
    return answer;
  }

  private static List<Map<String, String>> violations(InvalidArgumentException error) {
    return error.violations().stream()
        .map(each -> Map.of("field", each.field(), "description", each.description()))
        .toList();
  }

  private static Map<String, Object> name(RecordName name) {
    Map<String, Object> answer = one("store", name.store());
    answer.put("namespace", name.namespace());
    answer.put("key", name.key());
    return answer;
  }

  private static String time(Optional<Instant> time) {
    return time.map(Instant::toString).orElse(null);
  }
}
