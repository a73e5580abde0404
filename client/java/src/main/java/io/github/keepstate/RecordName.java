package io.github.keepstate;

import static java.util.Objects.requireNonNull;

import java.io.Serializable;

/**
 * Names one record.
 *
 * @param store the Dapr state component that keeps the record; empty: the service's default store
 * @param namespace empty: the default namespace
 * @param key 1 to 512 bytes of UTF-8
 */
public record RecordName(String store, String namespace, String key) implements Serializable {
  /**
   * Refuses null.
   *
   * @param store not null
   * @param namespace not null
   * @param key not null
   */
  public RecordName {
    requireNonNull(store, "store");
    requireNonNull(namespace, "namespace");
    requireNonNull(key, "key");
  }

  io.github.keepstate.v1.RecordName message() {
    return io.github.keepstate.v1.RecordName.newBuilder()
        .setStore(store)
        .setNamespace(namespace)
        .setKey(key)
        .build();
  }

  static RecordName of(io.github.keepstate.v1.RecordName message) {
    return new RecordName(message.getStore(), message.getNamespace(), message.getKey());
  }
}
