package io.github.keepstate;

/**
 * The transaction met writes of others again and again. Begin it anew. No single record is to
 * blame.
 */
public final class TransactionConflictException extends ConflictException {
  TransactionConflictException(Failure failure) {
    super(failure);
  }
}
