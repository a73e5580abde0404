package io.github.keepstate;

import java.time.Duration;
import java.util.List;
import java.util.Optional;

/**
 * The records of one namespace in one store, and all calls of the service. {@link KeepstateClient}
 * is one; {@link #namespace}, {@link #store} and {@link #timeout} make others, which cost nothing.
 *
 * <p>Besides what is said of each, a call throws {@link InvalidArgumentException} where a field is
 * wrong, {@link UnavailableException} and {@link DeadlineExceededException} where it was surely not
 * performed, and of writes {@link OutcomeUnknownException} where that cannot be told; all are a
 * {@link KeepstateException}. After {@link KeepstateClient#close} it is an {@link
 * IllegalStateException}.
 */
public interface State {
  /**
   * The same client and store with another namespace.
   *
   * @param name empty: the default namespace
   * @return another view
   */
  State namespace(String name);

  /**
   * The same client and namespace in another store.
   *
   * @param name a Dapr state component; empty: the service's default store
   * @return another view
   */
  State store(String name);

  /**
   * The same records, with calls that take so long at most.
   *
   * @param timeout for a call with its repeats; more than nothing
   * @return another view
   * @throws IllegalArgumentException it is not
   */
  State timeout(Duration timeout);

  /**
   * Reads the record under a key.
   *
   * @param key the key
   * @return empty: there is none
   */
  default Optional<StateRecord> get(String key) {
    return get(Get.of(key));
  }

  /**
   * Reads one record.
   *
   * @param get which, and how
   * @return empty: there is none
   */
  Optional<StateRecord> get(Get get);

  /**
   * Writes the record under a key, whatever was there. It never expires.
   *
   * @param key the key
   * @param value what it is to hold
   * @return its new etag
   */
  default String put(String key, Value value) {
    return put(Put.of(key, value));
  }

  /**
   * Writes one record.
   *
   * @param put which, what, and on which terms
   * @return its new etag
   * @throws AlreadyExistsException {@code ifAbsent}, and there is one
   * @throws NotFoundException {@code ifExists}, and there is none
   * @throws ConflictException {@code ifEtag}, and it has another, or there is none
   */
  String put(Put put);

  /**
   * Deletes the record under a key, if there is one.
   *
   * @param key the key
   * @return whether there was one
   */
  default boolean delete(String key) {
    return delete(Delete.of(key));
  }

  /**
   * Deletes one record.
   *
   * @param delete which, and on which terms
   * @return whether there was one
   * @throws NotFoundException {@code ifExists}, and there is none
   * @throws ConflictException {@code ifEtag}, and it has another, or there is none
   */
  boolean delete(Delete delete);

  /**
   * Moves a record's expiry.
   *
   * @param touch which, and to when
   * @return what is there now
   * @throws NotFoundException there is no record
   * @throws ConflictException {@code ifEtag}, and it has another, or there is none
   */
  Touched touch(Touch touch);

  /**
   * Has the service change a value.
   *
   * @param update an {@link Increment}, an {@link Append} or a {@link MergePatch}
   * @return what it left; who must know, e.g. to give out every number once, looks at {@code
   *     repeated}
   * @throws UpdateNotApplicableException it does not fit the value, or the result would go out of
   *     bounds
   * @throws AlreadyExistsException {@code ifAbsent}, and there is one
   * @throws NotFoundException {@code ifExists}, and there is none
   * @throws ConflictException {@code ifEtag}, and it has another, or there is none
   */
  Updated update(Update update);

  /**
   * Performs up to 1,000 independent operations in one call; those on one record in the order
   * given.
   *
   * @param operations what to do; nothing is sent for none
   * @return what became of each, in the order given
   * @throws KeepstateException the call failed as a whole, and no operation was answered
   */
  List<BatchResult> batch(List<? extends BatchOperation> operations);

  /**
   * Performs all of these or none, if all of their conditions hold at one moment. At most 100
   * records, of any stores, none of them named twice.
   *
   * @param operations what to do
   * @return what was done, in the order given
   * @throws AlreadyExistsException a record had to be absent; names it
   * @throws NotFoundException a record had to exist; names it
   * @throws ConflictException a record had to have another etag; names it
   * @throws TransactionConflictException writes of others came between again and again; begin anew
   * @throws UpdateNotApplicableException an update does not fit the value that it met; names its
   *     record
   */
  Committed transact(List<? extends TransactOperation> operations);

  /**
   * Runs a function up to 10 times, as {@link #transaction(int, TransactionFunction)} says.
   *
   * @param function reads and writes by the transaction that it is given
   * @param <T> what it returns
   * @param <X> what it throws besides unchecked exceptions
   * @return what it returned in the run that was applied
   * @throws X as it came out of the function; nothing was applied
   */
  default <T, X extends Exception> T transaction(TransactionFunction<T, X> function) throws X {
    return transaction(10, function);
  }

  /**
   * Runs a function, and applies all that it writes or nothing, if all that it read still holds.
   * Otherwise the function runs again from the start, after a pause. At most 100 records, of any
   * stores, read or written.
   *
   * @param tries how often it may run, at least 1; all runs together have the time of one call
   * @param function reads and writes by the transaction that it is given
   * @param <T> what it returns
   * @param <X> what it throws besides unchecked exceptions
   * @return what it returned in the run that was applied
   * @throws X as it came out of the function; nothing was applied
   * @throws ConflictException others came between in the last run too, or a condition of a write
   *     does not hold
   * @throws AlreadyExistsException the same
   * @throws NotFoundException the same
   * @throws UpdateNotApplicableException an update does not fit the value that it met
   */
  <T, X extends Exception> T transaction(int tries, TransactionFunction<T, X> function) throws X;

  /**
   * Reads up to 100 records of this view as they were at one moment.
   *
   * @param keys their keys
   * @return for each its record, or empty: there was none
   */
  List<Optional<StateRecord>> snapshot(String... keys);

  /**
   * Reads up to 100 records of any namespaces and stores as they were at one moment.
   *
   * @param names their full names
   * @return for each its record, or empty: there was none
   */
  List<Optional<StateRecord>> snapshot(List<RecordName> names);

  /**
   * Describes this view's store.
   *
   * @return what it is, and which promises it keeps
   * @throws StoreNotFoundException there is none of this name
   */
  StoreInfo storeInfo();

  /**
   * Describes all stores.
   *
   * @return the stores, by name
   */
  List<StoreInfo> stores();
}
