package io.github.keepstate;

/**
 * A change to a value that the service makes, atomically. Values are JSON. Conditions and expiry
 * are those of {@link Put}: without one of {@code ttl}, {@code expireAt}, {@code keepExpiry} the
 * record never expires.
 */
public sealed interface Update extends BatchOperation, TransactOperation
    permits Increment, Append, MergePatch {}
