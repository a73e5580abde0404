package io.github.keepstate;

import static java.util.Objects.requireNonNull;

import com.google.protobuf.Timestamp;
import io.github.keepstate.v1.Precondition;
import java.time.Duration;
import java.time.Instant;
import java.util.function.Consumer;

/** Where an operation works, and on which terms. Null: it does not say. */
record Terms(
    String key,
    String namespace,
    String store,
    Consistency consistency,
    Precondition condition,
    Expiry expiry) {

  /** When a record is to expire: exactly one of the three. */
  record Expiry(Duration ttl, Instant time, boolean keep) {}

  static Terms of(String key) {
    return new Terms(Utf8.checked(key, "key"), null, null, null, null, null);
  }

  Terms withNamespace(String namespace) {
    Utf8.checked(namespace, "namespace");
    return new Terms(key, namespace, store, consistency, condition, expiry);
  }

  Terms withStore(String store) {
    Utf8.checked(store, "store");
    return new Terms(key, namespace, store, consistency, condition, expiry);
  }

  Terms withConsistency(Consistency consistency) {
    requireNonNull(consistency, "consistency");
    return new Terms(key, namespace, store, consistency, condition, expiry);
  }

  Terms ifAbsent() {
    return with(Precondition.newBuilder().setAbsent(true).build());
  }

  Terms ifExists() {
    return with(Precondition.newBuilder().setExists(true).build());
  }

  Terms ifEtag(String etag) {
    return with(Precondition.newBuilder().setEtag(Utf8.checked(etag, "etag")).build());
  }

  Terms ttl(Duration ttl) {
    return with(new Expiry(requireNonNull(ttl, "ttl"), null, false));
  }

  Terms expireAt(Instant time) {
    return with(new Expiry(null, requireNonNull(time, "time"), false));
  }

  Terms keepExpiry() {
    return with(new Expiry(null, null, true));
  }

  private Terms with(Precondition condition) {
    if (this.condition != null) {
      throw new IllegalArgumentException(
          "give one of ifAbsent, ifExists, ifEtag: the operation on '" + key + "' has one already");
    }
    return new Terms(key, namespace, store, consistency, condition, expiry);
  }

  private Terms with(Expiry expiry) {
    if (this.expiry != null) {
      throw new IllegalArgumentException(
          "give one of ttl, expireAt, keepExpiry: the operation on '" + key + "' has one already");
    }
    return new Terms(key, namespace, store, consistency, condition, expiry);
  }

  /** The consistency on the wire. */
  io.github.keepstate.v1.Consistency level() {
    return (consistency == null ? Consistency.STRONG : consistency).message;
  }

  /** Sets what is said of condition and expiry in a message that is being built. */
  void apply(
      Consumer<Precondition> setCondition,
      Consumer<com.google.protobuf.Duration> setTtl,
      Consumer<Timestamp> setTime,
      Consumer<Boolean> setKeep) {
    if (condition != null) {
      setCondition.accept(condition);
    }
    if (expiry == null) {
      return;
    }
    if (expiry.ttl != null) {
      setTtl.accept(Times.message(expiry.ttl));
    } else if (expiry.time != null) {
      setTime.accept(Times.message(expiry.time));
    } else {
      setKeep.accept(true);
    }
  }
}
