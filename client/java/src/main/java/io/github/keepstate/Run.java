package io.github.keepstate;

import com.google.protobuf.MessageLite;
import io.github.keepstate.v1.Check;
import io.github.keepstate.v1.DeleteRequest;
import io.github.keepstate.v1.GetRequest;
import io.github.keepstate.v1.Precondition;
import io.github.keepstate.v1.PutRequest;
import io.github.keepstate.v1.Record;
import io.github.keepstate.v1.RecordName;
import io.github.keepstate.v1.StateServiceGrpc;
import io.github.keepstate.v1.TransactRequest;
import io.github.keepstate.v1.UpdateRequest;
import io.grpc.Status;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * One run of a transaction: the records that it has read and those that it is to write, by the
 * names asked for.
 */
final class Run {
  private final Connection connection;
  private final Attempts time;
  private final Map<RecordName, Optional<Record>> reads = new LinkedHashMap<>();
  private final Map<RecordName, Write> writes = new LinkedHashMap<>();

  /** Seen by other threads too, so that what one keeps is refused. */
  private volatile boolean over;

  /**
   * A put, a delete or an update.
   *
   * @param message one of the three
   */
  record Write(MessageLite message) {
    RecordName name() {
      if (message instanceof PutRequest put) {
        return put.getName();
      }
      return message instanceof DeleteRequest delete
          ? delete.getName()
          : ((UpdateRequest) message).getName();
    }

    /** The default instance: there is none. */
    Precondition condition() {
      if (message instanceof PutRequest put) {
        return put.getPrecondition();
      }
      return message instanceof DeleteRequest delete
          ? delete.getPrecondition()
          : ((UpdateRequest) message).getPrecondition();
    }

    boolean hasCondition() {
      return condition().getConditionCase() != Precondition.ConditionCase.CONDITION_NOT_SET;
    }

    Write withCondition(Precondition condition) {
      if (message instanceof PutRequest put) {
        return new Write(put.toBuilder().setPrecondition(condition).build());
      }
      return message instanceof DeleteRequest delete
          ? new Write(delete.toBuilder().setPrecondition(condition).build())
          : new Write(((UpdateRequest) message).toBuilder().setPrecondition(condition).build());
    }

    boolean isUpdate() {
      return message instanceof UpdateRequest;
    }

    /** What the record is after it. */
    Optional<Record> left() {
      if (message instanceof PutRequest put) {
        return Optional.of(
            Record.newBuilder()
                .setName(put.getName())
                .setValue(put.getValue())
                .setContentType(put.getContentType())
                .build());
      }
      if (message instanceof DeleteRequest) {
        return Optional.empty();
      }
      throw new IllegalStateException(
          "the transaction updates '"
              + name().getKey()
              + "': what that leaves is known only afterwards");
    }

    /** The one write that this and an earlier one to the same record make. */
    Write after(Write earlier) {
      String already = "the transaction writes '" + name().getKey() + "' already: ";
      if (isUpdate() || earlier.isUpdate()) {
        throw new IllegalStateException(already + "an update must be the only write to its record");
      }
      if (hasCondition()) {
        throw new IllegalStateException(already + "the second write cannot have a condition");
      }
      Write merged = withExpiryOf(earlier);
      return earlier.hasCondition() ? merged.withCondition(earlier.condition()) : merged;
    }

    private Write withExpiryOf(Write earlier) {
      if (!(message instanceof PutRequest put) || !put.hasKeepExpiry()) {
        return this;
      }
      PutRequest.Builder merged = put.toBuilder().clearExpiry();
      if (earlier.message instanceof PutRequest before) {
        switch (before.getExpiryCase()) {
          case TTL -> merged.setTtl(before.getTtl());
          case EXPIRE_TIME -> merged.setExpireTime(before.getExpireTime());
          case KEEP_EXPIRY -> merged.setKeepExpiry(true);
          case EXPIRY_NOT_SET -> {}
        }
      }
      return new Write(merged.build());
    }
  }

  /**
   * Begins a run.
   *
   * @param time what the transaction's time leaves
   */
  Run(Connection connection, Attempts time) {
    this.connection = connection;
    this.time = time;
  }

  /** Runs the function; afterwards nothing can be read or written. */
  <T, X extends Exception> T perform(Transaction tx, TransactionFunction<T, X> function) throws X {
    try {
      return function.apply(tx);
    } finally {
      over = true;
    }
  }

  /**
   * Reads a record for the first time, or says again what was read; of one that was written, what
   * was written.
   */
  Optional<Record> read(GetRequest request) {
    mustRun();
    if (request.hasSlideTtl()) {
      throw new IllegalArgumentException(
          "a transaction's read cannot have slideTtl: it would move the expiry at once");
    }
    Write write = writes.get(request.getName());
    if (write != null) {
      return write.left();
    }
    Optional<Record> found = reads.get(request.getName());
    if (found == null) {
      found = View.find(connection, request, left());
      reads.put(request.getName(), found);
    }
    return found;
  }

  /** Notes a write for the end. */
  void write(Write write) {
    mustRun();
    Write earlier = writes.get(write.name());
    writes.put(write.name(), earlier == null ? write : write.after(earlier));
  }

  /**
   * Has all of it applied, if everything that was read still holds.
   *
   * @throws KeepstateException nothing was changed, or an {@link OutcomeUnknownException}
   */
  void commit(TransactRequest.Builder request) {
    int changes = request.getPutsCount() + request.getDeletesCount() + request.getUpdatesCount();
    if (changes > 0) {
      connection.write(
          StateServiceGrpc.getTransactMethod(), id -> request.setRequest(id).build(), left());
    } else if (request.getChecksCount() > 1 || !writes.isEmpty()) {
      verify(request.getChecksList()); // one record that was only read was read as of one moment
    }
  }

  /**
   * Whether a commit failed so because what was read holds no more, not for a condition of the
   * caller's own.
   */
  boolean isOvertaken(KeepstateException error) {
    if (error instanceof TransactionConflictException) {
      return true;
    }
    Optional<io.github.keepstate.RecordName> about = Optional.empty();
    if (error instanceof ConflictException conflict) {
      about = conflict.name();
    } else if (error instanceof AlreadyExistsException exists) {
      about = exists.name();
    } else if (error instanceof NotFoundException missing) {
      about = missing.name();
    }
    if (about.isEmpty()) {
      return false;
    }
    RecordName name = about.get().message();
    if (!reads.containsKey(name) && !writes.containsKey(name)) {
      name = name.toBuilder().clearStore().build(); // the service fills in its default store
    }
    return reads.containsKey(name);
  }

  /**
   * All that was read and written as one message.
   *
   * @throws KeepstateException what was read contradicts a condition of the caller's own
   */
  TransactRequest.Builder request() {
    TransactRequest.Builder request = TransactRequest.newBuilder();
    reads.forEach(
        (name, found) -> {
          Precondition demand = demand(found);
          Write write = writes.get(name);
          if (write == null) {
            request.addChecks(Check.newBuilder().setName(name).setPrecondition(demand));
          } else {
            mustHold(name, write.condition(), found);
            writes.put(name, write.withCondition(demand));
          }
        });
    writes.forEach(
        (name, write) -> {
          if (write.message() instanceof PutRequest put) {
            request.addPuts(put);
          } else if (write.message() instanceof UpdateRequest update) {
            request.addUpdates(update);
          } else if (write.condition().hasAbsent()) { // nothing to do, if that holds
            request.addChecks(Check.newBuilder().setName(name).setPrecondition(write.condition()));
          } else {
            request.addDeletes((DeleteRequest) write.message());
          }
        });
    return request;
  }

  private static Precondition demand(Optional<Record> found) {
    return found
        .map(record -> Precondition.newBuilder().setEtag(record.getEtag()))
        .orElseGet(() -> Precondition.newBuilder().setAbsent(true))
        .build();
  }

  /** Sees that all checks hold at one moment. */
  private void verify(List<Check> checks) {
    List<Optional<Record>> found =
        Snapshots.read(connection, checks.stream().map(Check::getName).toList(), left());
    for (int i = 0; i < checks.size(); i++) {
      mustHold(checks.get(i).getName(), checks.get(i).getPrecondition(), found.get(i));
    }
  }

  /** Says of a condition what the service would say. */
  private static void mustHold(RecordName name, Precondition condition, Optional<Record> found) {
    String etag = found.map(Record::getEtag).orElse("");
    switch (condition.getConditionCase()) {
      case ABSENT -> {
        if (found.isPresent()) {
          throw new AlreadyExistsException(
              failure(Status.Code.ALREADY_EXISTS, "the record exists", name, etag));
        }
      }
      case EXISTS -> {
        if (found.isEmpty()) {
          throw new NotFoundException(
              failure(Status.Code.NOT_FOUND, "there is no such record", name, etag));
        }
      }
      case ETAG -> {
        if (!etag.equals(condition.getEtag())) {
          String words = found.isPresent() ? "the record has another etag" : "the record is gone";
          throw new ConflictException(failure(Status.Code.ABORTED, words, name, etag));
        }
      }
      case CONDITION_NOT_SET -> {}
    }
  }

  private static Failure failure(Status.Code code, String words, RecordName name, String etag) {
    return Failure.of(code, words)
        .withMetadata(
            Map.of(
                "store", name.getStore(),
                "namespace", name.getNamespace(),
                "key", name.getKey(),
                "etag", etag));
  }

  /** What is left of the transaction's time; where it is up a call fails at once. */
  private Duration left() {
    return Duration.ofNanos(Math.max(time.left(), 0));
  }

  private void mustRun() {
    if (over) {
      throw new IllegalStateException(
          "the transaction is over: read and write before its function returns");
    }
  }
}
