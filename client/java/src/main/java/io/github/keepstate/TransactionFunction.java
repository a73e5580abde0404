package io.github.keepstate;

/**
 * What {@link State#transaction} runs. It may run several times, so it must do nothing else that
 * counts.
 *
 * @param <T> what it returns
 * @param <X> what it throws besides unchecked exceptions
 */
@FunctionalInterface
public interface TransactionFunction<T, X extends Exception> {
  /**
   * Reads and writes.
   *
   * @param tx what it reads and writes with, in its own thread and only until it returns
   * @return what the transaction returns
   * @throws X it is not to be applied
   */
  T apply(Transaction tx) throws X;
}
