package io.github.keepstate;

import io.github.keepstate.v1.RecordName;

/** Where a view looks: what an operation does not say itself. */
record Scope(String store, String namespace) {
  RecordName name(Terms terms) {
    return RecordName.newBuilder()
        .setStore(terms.store() == null ? store : terms.store())
        .setNamespace(terms.namespace() == null ? namespace : terms.namespace())
        .setKey(terms.key())
        .build();
  }

  Scope withNamespace(String namespace) {
    return new Scope(store, Utf8.checked(namespace, "namespace"));
  }

  Scope withStore(String store) {
    return new Scope(Utf8.checked(store, "store"), namespace);
  }
}
