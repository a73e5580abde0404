package io.github.keepstate;

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
   * Refuses null, and half of a surrogate pair.
   *
   * @param store not null
   * @param namespace not null
   * @param key not null
   */
  public RecordName {
    Utf8.checked(store, "store");
    Utf8.checked(namespace, "namespace");
    Utf8.checked(key, "key");
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
