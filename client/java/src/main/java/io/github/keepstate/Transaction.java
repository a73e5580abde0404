package io.github.keepstate;

import java.util.Optional;

/**
 * One run of a transaction, as a view of one namespace in one store. For one thread at a time.
 *
 * <p>Reads go to the service, each record once, and are remembered: the transaction is applied only
 * if they all still hold at one moment. A run that others have overtaken may see records that do
 * not fit each other; it is refused in the end, and the function runs again.
 *
 * <p>Writes wait for the end. A read of a record that was put or deleted shows what was written, as
 * a record without etag and times; what an update will leave cannot be read. A record that was put
 * or deleted may be put or deleted once more, then without a condition. All else, and what comes
 * after the function has returned, is an {@link IllegalStateException}.
 */
public final class Transaction {
  private final Run run;
  private final Scope scope;

  Transaction(Run run, Scope scope) {
    this.run = run;
    this.scope = scope;
  }

  /**
   * The same transaction and store with another namespace.
   *
   * @param name empty: the default namespace
   * @return another view of the transaction
   */
  public Transaction namespace(String name) {
    return new Transaction(run, scope.withNamespace(name));
  }

  /**
   * The same transaction and namespace in another store.
   *
   * @param name a Dapr state component; empty: the service's default store
   * @return another view of the transaction
   */
  public Transaction store(String name) {
    return new Transaction(run, scope.withStore(name));
  }

  /**
   * Reads the record under a key.
   *
   * @param key the key
   * @return empty: there is none
   */
  public Optional<StateRecord> get(String key) {
    return get(Get.of(key));
  }

  /**
   * Reads one record.
   *
   * @param get which, and how; without {@code slideTtl}, which would move the expiry at once
   * @return empty: there is none
   * @throws IllegalArgumentException it has {@code slideTtl}
   */
  public Optional<StateRecord> get(Get get) {
    return run.read(get.message(scope)).map(StateRecord::of);
  }

  /**
   * Has the record under a key written.
   *
   * @param key the key
   * @param value what it is to hold
   */
  public void put(String key, Value value) {
    put(Put.of(key, value));
  }

  /**
   * Has a record written.
   *
   * @param put which, what, and on which terms
   */
  public void put(Put put) {
    run.write(new Run.Write(put.message(scope, null)));
  }

  /**
   * Has the record under a key deleted, if there is one.
   *
   * @param key the key
   */
  public void delete(String key) {
    delete(Delete.of(key));
  }

  /**
   * Has a record deleted.
   *
   * @param delete which, and on which terms
   */
  public void delete(Delete delete) {
    run.write(new Run.Write(delete.message(scope, null)));
  }

  /**
   * Has the service change a value.
   *
   * @param update an {@link Increment}, an {@link Append} or a {@link MergePatch}
   */
  public void update(Update update) {
    run.write(new Run.Write(ValueUpdate.message(update, scope, null)));
  }
}
