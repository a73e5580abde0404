package io.github.keepstate;

import static java.util.Objects.requireNonNull;

import com.google.protobuf.MessageLite;
import io.github.keepstate.v1.GetStoreRequest;
import io.github.keepstate.v1.ListStoresRequest;
import io.github.keepstate.v1.RequestId;
import io.github.keepstate.v1.StateServiceGrpc;
import io.github.keepstate.v1.StoreServiceGrpc;
import io.github.keepstate.v1.TransactRequest;
import io.grpc.MethodDescriptor;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.function.Function;

/** The calls, by one connection. */
class View implements State {
  final Connection connection;
  private final Scope scope;
  private final Duration timeout;

  View(Connection connection, Scope scope, Duration timeout) {
    this.connection = connection;
    this.scope = scope;
    this.timeout = timeout;
  }

  @Override
  public final State namespace(String name) {
    return new View(connection, scope.withNamespace(name), timeout);
  }

  @Override
  public final State store(String name) {
    return new View(connection, scope.withStore(name), timeout);
  }

  @Override
  public final State timeout(Duration timeout) {
    return new View(connection, scope, positive(timeout));
  }

  @Override
  public final Optional<StateRecord> get(Get get) {
    requireNonNull(get, "get");
    return find(connection, get.message(scope), timeout).map(StateRecord::of);
  }

  @Override
  public final String put(Put put) {
    requireNonNull(put, "put");
    return write(StateServiceGrpc.getPutMethod(), id -> put.message(scope, id)).getEtag();
  }

  @Override
  public final boolean delete(Delete delete) {
    requireNonNull(delete, "delete");
    return write(StateServiceGrpc.getDeleteMethod(), id -> delete.message(scope, id)).getExisted();
  }

  @Override
  public final Touched touch(Touch touch) {
    requireNonNull(touch, "touch");
    return Touched.of(write(StateServiceGrpc.getTouchMethod(), id -> touch.message(scope, id)));
  }

  @Override
  public final Updated update(Update update) {
    requireNonNull(update, "update");
    return Updated.of(
        write(StateServiceGrpc.getUpdateMethod(), id -> ValueUpdate.message(update, scope, id)));
  }

  @Override
  public final List<BatchResult> batch(List<? extends BatchOperation> operations) {
    mustBeThere(operations, "operations");
    if (operations.isEmpty()) {
      return List.of();
    }
    return new BatchCall(connection, scope, operations).perform(timeout);
  }

  @Override
  public final Committed transact(List<? extends TransactOperation> operations) {
    mustBeThere(operations, "operations");
    TransactRequest.Builder request = TransactRequest.newBuilder();
    for (TransactOperation operation : operations) {
      if (operation instanceof Check check) {
        request.addChecks(check.message(scope));
      } else if (operation instanceof Put put) {
        request.addPuts(put.message(scope, null));
      } else if (operation instanceof Delete delete) {
        request.addDeletes(delete.message(scope, null));
      } else if (operation instanceof Update update) {
        request.addUpdates(ValueUpdate.message(update, scope, null));
      }
    }
    var response =
        write(StateServiceGrpc.getTransactMethod(), id -> request.setRequest(id).build());
    return Committed.of(response, request.build());
  }

  @Override
  public final <T, X extends Exception> T transaction(int tries, TransactionFunction<T, X> function)
      throws X {
    if (tries < 1) {
      throw new IllegalArgumentException("tries must be at least 1, not " + tries);
    }
    requireNonNull(function, "function");
    Attempts time = connection.begin(List.of(), timeout);
    for (int run = 0; ; run++) {
      Run current = new Run(connection, time);
      T result = current.perform(new Transaction(current, scope), function);
      TransactRequest.Builder request = current.request();
      KeepstateException overtaken;
      try {
        current.commit(request);
        return result;
      } catch (KeepstateException error) {
        if (run + 1 == tries || !current.isOvertaken(error)) {
          throw error;
        }
        overtaken = error;
      }
      if (!connection.pause(connection.pauseBetweenRuns(run), time)) {
        throw connection.overtaken(overtaken);
      }
    }
  }

  @Override
  public final List<Optional<StateRecord>> snapshot(String... keys) {
    return snapshot(
        Arrays.stream(keys)
            .map(key -> new RecordName(scope.store(), scope.namespace(), key))
            .toList());
  }

  @Override
  public final List<Optional<StateRecord>> snapshot(List<RecordName> names) {
    mustBeThere(names, "names");
    if (names.isEmpty()) {
      return List.of();
    }
    return Snapshots.read(connection, names.stream().map(RecordName::message).toList(), timeout)
        .stream()
        .map(found -> found.map(StateRecord::of))
        .toList();
  }

  @Override
  public final StoreInfo storeInfo() {
    GetStoreRequest request = GetStoreRequest.newBuilder().setName(scope.store()).build();
    return StoreInfo.of(
        connection.read(StoreServiceGrpc.getGetStoreMethod(), request, timeout).getStore());
  }

  @Override
  public final List<StoreInfo> stores() {
    ListStoresRequest request = ListStoresRequest.getDefaultInstance();
    return connection
        .read(StoreServiceGrpc.getListStoresMethod(), request, timeout)
        .getStoresList()
        .stream()
        .map(StoreInfo::of)
        .toList();
  }

  private <Q extends MessageLite, R> R write(
      MethodDescriptor<Q, R> method, Function<RequestId, Q> message) {
    return connection.write(method, message, timeout);
  }

  /** Reads one record. Empty: there is none. */
  static Optional<io.github.keepstate.v1.Record> find(
      Connection connection, io.github.keepstate.v1.GetRequest request, Duration timeout) {
    try {
      return Optional.of(
          connection.read(StateServiceGrpc.getGetMethod(), request, timeout).getRecord());
    } catch (NotFoundException error) {
      if (isMissing(error)) {
        return Optional.empty();
      }
      throw error;
    }
  }

  /**
   * Whether the error says that there is no record, rather than e.g. a proxy that found no service.
   */
  static boolean isMissing(KeepstateException error) {
    return error instanceof NotFoundException && error.reason().equals("RECORD_NOT_FOUND");
  }

  private static void mustBeThere(List<?> list, String name) {
    requireNonNull(list, name);
    for (int i = 0; i < list.size(); i++) {
      requireNonNull(list.get(i), name + "[" + i + "]");
    }
  }

  static Duration positive(Duration timeout) {
    if (requireNonNull(timeout, "timeout").isNegative() || timeout.isZero()) {
      throw new IllegalArgumentException("timeout must be more than nothing: " + timeout);
    }
    return timeout;
  }
}
