package io.github.keepstate;

import io.github.keepstate.v1.BatchRequest;
import io.github.keepstate.v1.BatchResponse;
import io.github.keepstate.v1.RequestId;
import io.github.keepstate.v1.StateServiceGrpc;
import io.grpc.Status;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/** One batch, of which what failed for now is sent again. */
final class BatchCall {
  private final Connection connection;
  private final List<Item> items;

  /** One operation of the batch. */
  private static final class Item extends Part {
    private final BatchOperation operation;
    private final Scope scope;

    /** What the caller is told unless there is another attempt. Null: it was not sent yet. */
    private BatchResult result;

    /** How its last attempt failed. Null: it did not. */
    private KeepstateException failure;

    Item(BatchOperation operation, Scope scope, RequestId request) {
      super(request);
      this.operation = operation;
      this.scope = scope;
    }

    io.github.keepstate.v1.BatchOperation message() {
      var builder = io.github.keepstate.v1.BatchOperation.newBuilder();
      if (operation instanceof Get get) {
        builder.setGet(get.message(scope));
      } else if (operation instanceof Put put) {
        builder.setPut(put.message(scope, request));
      } else if (operation instanceof Delete delete) {
        builder.setDelete(delete.message(scope, request));
      } else if (operation instanceof Touch touch) {
        builder.setTouch(touch.message(scope, request));
      } else if (operation instanceof Update update) {
        builder.setUpdate(ValueUpdate.message(update, scope, request));
      }
      return builder.build();
    }

    /** What tells its record from others. Without the store: the default one has two names. */
    List<String> record() {
      var name =
          scope.name(((Named<?>) operation).terms); // each kind that the interface permits is one
      return List.of(name.getNamespace(), name.getKey());
    }

    void fail(KeepstateException error) {
      failure = request == null ? Errors.ofRead(error) : error;
      KeepstateException told = failed(failure);
      result =
          operation instanceof Get && View.isMissing(told)
              ? new BatchResult.Read(Optional.empty())
              : new BatchResult.Failed(told);
    }

    void succeed(BatchResult answer) {
      failure = null;
      result = answer;
    }

    /** The answer of the operation's own kind. */
    void take(io.github.keepstate.v1.BatchResult message) {
      if (!message.hasError()
          && !message.getResultCase().name().equals(message().getOperationCase().name())) {
        fail(unreadable("the service answered an operation with a result of another kind"));
        return;
      }
      switch (message.getResultCase()) {
        case GET ->
            succeed(
                new BatchResult.Read(Optional.of(StateRecord.of(message.getGet().getRecord()))));
        case PUT -> succeed(new BatchResult.Written(message.getPut().getEtag()));
        case DELETE -> succeed(new BatchResult.Deleted(message.getDelete().getExisted()));
        case TOUCH -> succeed(Touched.of(message.getTouch()));
        case UPDATE -> succeed(Updated.of(message.getUpdate()));
        case ERROR -> fail(Errors.of(Errors.failure(message.getError()), request != null));
        case RESULT_NOT_SET -> throw new AssertionError("no operation's own kind");
      }
    }

    private KeepstateException unreadable(String words) {
      return Errors.of(Failure.of(Status.Code.INTERNAL, words), request != null);
    }
  }

  BatchCall(Connection connection, Scope scope, List<? extends BatchOperation> operations) {
    this.connection = connection;
    this.items = new ArrayList<>(operations.size());
    for (BatchOperation operation : operations) {
      RequestId request = operation instanceof Get ? null : connection.nextRequest();
      items.add(new Item(operation, scope, request));
    }
  }

  /**
   * Performs the operations, those that failed for now again within the time.
   *
   * @return for each operation its answer, or why it failed, in the order given
   * @throws KeepstateException the call failed as a whole, and no operation was answered
   */
  List<BatchResult> perform(Duration timeout) {
    Attempts attempts = connection.begin(items, timeout);
    List<Item> waiting = items;
    boolean answered = false;
    Optional<KeepstateException> whole;
    while (true) {
      whole = attempt(waiting, attempts.next());
      answered |= whole.isEmpty();
      waiting = toBeRepeated(waiting);
      List<KeepstateException> failures = waiting.stream().map(item -> item.failure).toList();
      if (failures.isEmpty() || !connection.pauseAfter(failures, attempts)) {
        break;
      }
      waiting.forEach(item -> connection.renew(item, item.failure));
    }
    if (whole.isPresent() && !answered) {
      throw connection.ended(unknownIfOneIs(whole.get()));
    }
    return items.stream().map(item -> item.result).toList();
  }

  /**
   * Sends these once, and has each take its result. Returns the error with which the call failed as
   * a whole.
   */
  private Optional<KeepstateException> attempt(List<Item> sent, long nanos) {
    boolean writes = sent.stream().anyMatch(item -> item.request != null);
    BatchRequest request =
        BatchRequest.newBuilder()
            .addAllOperations(sent.stream().map(Item::message).toList())
            .build();
    try {
      BatchResponse response =
          connection.send(StateServiceGrpc.getBatchMethod(), request, nanos, writes);
      int results = response.getResultsCount();
      if (results != sent.size()) {
        String words = "the service gave %d results for %d operations";
        throw Errors.of(
            Failure.of(Status.Code.INTERNAL, words.formatted(results, sent.size())), writes);
      }
      for (int i = 0; i < results; i++) {
        sent.get(i).take(response.getResults(i));
      }
      return Optional.empty();
    } catch (KeepstateException error) {
      sent.forEach(item -> item.fail(error));
      return Optional.of(error);
    }
  }

  /**
   * Those that failed for now, but for what would overtake a later operation on its record that has
   * its answer.
   */
  private static List<Item> toBeRepeated(List<Item> sent) {
    List<Item> repeated = new ArrayList<>();
    Set<List<String>> overtaken = new HashSet<>();
    for (int i = sent.size() - 1; i >= 0; i--) {
      Item item = sent.get(i);
      boolean again = item.failure != null && Attempts.mayBeRepeated(item.failure);
      if (again && !overtaken.contains(item.record())) {
        repeated.add(item);
      } else {
        overtaken.add(item.record());
      }
    }
    Collections.reverse(repeated);
    return repeated;
  }

  private KeepstateException unknownIfOneIs(KeepstateException whole) {
    return items.stream()
        .map(item -> item.result)
        .filter(BatchResult.Failed.class::isInstance)
        .map(result -> ((BatchResult.Failed) result).error())
        .filter(OutcomeUnknownException.class::isInstance)
        .findFirst()
        .orElse(whole);
  }
}
