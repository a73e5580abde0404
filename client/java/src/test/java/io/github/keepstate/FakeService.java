package io.github.keepstate;

import com.google.protobuf.Message;
import com.google.rpc.Status;
import io.github.keepstate.v1.BatchRequest;
import io.github.keepstate.v1.BatchResponse;
import io.github.keepstate.v1.DeleteRequest;
import io.github.keepstate.v1.DeleteResponse;
import io.github.keepstate.v1.GetRequest;
import io.github.keepstate.v1.GetResponse;
import io.github.keepstate.v1.GetStoreRequest;
import io.github.keepstate.v1.GetStoreResponse;
import io.github.keepstate.v1.ListStoresRequest;
import io.github.keepstate.v1.ListStoresResponse;
import io.github.keepstate.v1.Precondition;
import io.github.keepstate.v1.PutRequest;
import io.github.keepstate.v1.PutResponse;
import io.github.keepstate.v1.Record;
import io.github.keepstate.v1.RecordName;
import io.github.keepstate.v1.RequestId;
import io.github.keepstate.v1.SnapshotItem;
import io.github.keepstate.v1.SnapshotRequest;
import io.github.keepstate.v1.SnapshotResponse;
import io.github.keepstate.v1.StateServiceGrpc;
import io.github.keepstate.v1.Store;
import io.github.keepstate.v1.StoreServiceGrpc;
import io.github.keepstate.v1.TouchRequest;
import io.github.keepstate.v1.TouchResponse;
import io.github.keepstate.v1.TransactRequest;
import io.github.keepstate.v1.TransactResponse;
import io.github.keepstate.v1.UpdateRequest;
import io.github.keepstate.v1.UpdateResponse;
import io.grpc.ForwardingServerCall.SimpleForwardingServerCall;
import io.grpc.Grpc;
import io.grpc.InsecureServerCredentials;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Function;
import java.util.function.Supplier;

/**
 * A small service on loopback: honest about puts, gets, deletes and transactions of them, and
 * scripted for the rest.
 */
final class FakeService extends StateServiceGrpc.StateServiceImplBase {
  static final Metadata.Key<String> TIME =
      Metadata.Key.of("keepstate-time", Metadata.ASCII_STRING_MARSHALLER);

  /** Every message that arrived, but for questions after the default store. */
  final List<Message> calls = new CopyOnWriteArrayList<>();

  /** The metadata of every call. */
  final List<Metadata> metadata = new CopyOnWriteArrayList<>();

  /** How often the default store was asked for, as clients do that know no time. */
  final AtomicInteger timesAsked = new AtomicInteger();

  /** What is answered before the honest answers; null: the honest one after all. */
  final Queue<Function<Message, Message>> script = new ConcurrentLinkedQueue<>();

  final Map<RecordName, Record> records = new ConcurrentHashMap<>();
  Supplier<String> clock = () -> Instant.now().toString();

  private final AtomicInteger versions = new AtomicInteger();
  private Server server;

  FakeService start() throws IOException {
    server =
        Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create())
            .maxInboundMessageSize(Sender.MAX_MESSAGE_BYTES)
            .addService(this)
            .addService(new Stores())
            .intercept(new Stamping())
            .build()
            .start();
    return this;
  }

  int port() {
    return server.getPort();
  }

  String address() {
    return "localhost:" + port();
  }

  /** Breaks all connections. */
  void end() {
    server.shutdownNow();
  }

  void stop() throws InterruptedException {
    end();
    if (!server.awaitTermination(10, TimeUnit.SECONDS)) {
      throw new AssertionError("the server does not end");
    }
  }

  void refuse(Status... statuses) {
    for (Status status : statuses) {
      script.add(
          message -> {
            throw Refusals.thrown(status);
          });
    }
  }

  void answer(Message answer) {
    script.add(message -> answer);
  }

  /** The next call is performed, and its connection breaks before the answer arrives. */
  void loseReply() {
    script.add(
        message -> {
          perform(message);
          throw Refusals.thrown(Refusals.BROKEN);
        });
  }

  /** All requests of writes that arrived, of batches those of their operations. */
  List<RequestId> requests() {
    return calls.stream().flatMap(message -> Requests.of(message).stream()).toList();
  }

  /** Number and attempt of each of {@link #requests}. */
  List<String> attempts() {
    return requests().stream().map(each -> each.getNumber() + "/" + each.getAttempt()).toList();
  }

  <M extends Message> List<M> calls(Class<M> kind) {
    return calls.stream().filter(kind::isInstance).map(kind::cast).toList();
  }

  private <A extends Message> void answer(
      Message message, StreamObserver<A> observer, Class<A> kind) {
    calls.add(message);
    try {
      Function<Message, Message> step = script.poll();
      Message scripted = step == null ? null : step.apply(message);
      observer.onNext(kind.cast(scripted == null ? perform(message) : scripted));
      observer.onCompleted();
    } catch (StatusRuntimeException refused) {
      observer.onError(refused);
    }
  }

  private Message perform(Message message) {
    if (message instanceof GetRequest get) {
      Record found = records.get(get.getName());
      if (found == null) {
        throw Refusals.thrown(Refusals.MISSING);
      }
      return GetResponse.newBuilder().setRecord(found).build();
    }
    if (message instanceof PutRequest put) {
      check(put.getName(), put.getPrecondition());
      return PutResponse.newBuilder().setEtag(write(put)).build();
    }
    if (message instanceof DeleteRequest delete) {
      check(delete.getName(), delete.getPrecondition());
      boolean existed = records.remove(delete.getName()) != null;
      return DeleteResponse.newBuilder().setExisted(existed).build();
    }
    if (message instanceof TransactRequest transact) {
      return transact(transact);
    }
    SnapshotResponse.Builder snapshot = SnapshotResponse.newBuilder();
    for (RecordName name : ((SnapshotRequest) message).getNamesList()) {
      SnapshotItem.Builder item = SnapshotItem.newBuilder().setName(name);
      if (records.containsKey(name)) {
        item.setRecord(records.get(name));
      }
      snapshot.addItems(item);
    }
    return snapshot.build();
  }

  private TransactResponse transact(TransactRequest request) {
    request.getChecksList().forEach(each -> check(each.getName(), each.getPrecondition()));
    request.getPutsList().forEach(each -> check(each.getName(), each.getPrecondition()));
    request.getDeletesList().forEach(each -> check(each.getName(), each.getPrecondition()));
    TransactResponse.Builder answer = TransactResponse.newBuilder();
    request
        .getPutsList()
        .forEach(each -> answer.addPuts(PutResponse.newBuilder().setEtag(write(each))));
    for (DeleteRequest each : request.getDeletesList()) {
      boolean existed = records.remove(each.getName()) != null;
      answer.addDeletes(DeleteResponse.newBuilder().setExisted(existed));
    }
    request.getUpdatesList().forEach(each -> answer.addUpdates(UpdateResponse.newBuilder()));
    return answer.build();
  }

  private String write(PutRequest put) {
    String etag = "v" + versions.incrementAndGet();
    records.put(
        put.getName(),
        Record.newBuilder()
            .setName(put.getName())
            .setValue(put.getValue())
            .setContentType(put.getContentType())
            .setEtag(etag)
            .build());
    return etag;
  }

  private void check(RecordName name, Precondition demand) {
    Record found = records.get(name);
    String etag = found == null ? "" : found.getEtag();
    Map<String, String> about =
        Map.of(
            "store",
            name.getStore().isEmpty() ? "memory" : name.getStore(),
            "namespace",
            name.getNamespace(),
            "key",
            name.getKey(),
            "etag",
            etag);
    if (demand.hasAbsent() && found != null) {
      throw Refusals.thrown(
          Refusals.refusal(io.grpc.Status.Code.ALREADY_EXISTS, "RECORD_ALREADY_EXISTS", about));
    }
    if (demand.hasExists() && found == null) {
      throw Refusals.thrown(
          Refusals.refusal(io.grpc.Status.Code.NOT_FOUND, "RECORD_NOT_FOUND", about));
    }
    if (demand.hasEtag() && !demand.getEtag().equals(etag)) {
      throw Refusals.thrown(Refusals.refusal(io.grpc.Status.Code.ABORTED, "ETAG_MISMATCH", about));
    }
  }

  @Override
  public void get(GetRequest request, StreamObserver<GetResponse> observer) {
    answer(request, observer, GetResponse.class);
  }

  @Override
  public void put(PutRequest request, StreamObserver<PutResponse> observer) {
    answer(request, observer, PutResponse.class);
  }

  @Override
  public void delete(DeleteRequest request, StreamObserver<DeleteResponse> observer) {
    answer(request, observer, DeleteResponse.class);
  }

  @Override
  public void touch(TouchRequest request, StreamObserver<TouchResponse> observer) {
    answer(request, observer, TouchResponse.class);
  }

  @Override
  public void update(UpdateRequest request, StreamObserver<UpdateResponse> observer) {
    answer(request, observer, UpdateResponse.class);
  }

  @Override
  public void batch(BatchRequest request, StreamObserver<BatchResponse> observer) {
    answer(request, observer, BatchResponse.class);
  }

  @Override
  public void transact(TransactRequest request, StreamObserver<TransactResponse> observer) {
    answer(request, observer, TransactResponse.class);
  }

  @Override
  public void snapshot(SnapshotRequest request, StreamObserver<SnapshotResponse> observer) {
    answer(request, observer, SnapshotResponse.class);
  }

  private final class Stores extends StoreServiceGrpc.StoreServiceImplBase {
    @Override
    public void getStore(GetStoreRequest request, StreamObserver<GetStoreResponse> observer) {
      timesAsked.incrementAndGet();
      observer.onNext(
          GetStoreResponse.newBuilder().setStore(Store.newBuilder().setName("memory")).build());
      observer.onCompleted();
    }

    @Override
    public void listStores(ListStoresRequest request, StreamObserver<ListStoresResponse> observer) {
      answer(request, observer, ListStoresResponse.class);
    }
  }

  /** Notes the metadata of each call, and puts the time into its trailers. */
  private final class Stamping implements ServerInterceptor {
    @Override
    public <Q, A> ServerCall.Listener<Q> interceptCall(
        ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
      metadata.add(headers);
      return next.startCall(
          new SimpleForwardingServerCall<>(call) {
            @Override
            public void close(io.grpc.Status status, Metadata trailers) {
              trailers.put(TIME, clock.get());
              super.close(status, trailers);
            }
          },
          headers);
    }
  }
}
