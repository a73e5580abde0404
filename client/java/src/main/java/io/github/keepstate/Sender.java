package io.github.keepstate;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.MessageLite;
import io.grpc.Attributes;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientInterceptors;
import io.grpc.ClientStreamTracer;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.MetadataUtils;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Supplier;

/** Makes one attempt at a call: with the metadata that every call has, and typed errors. */
final class Sender {
  /** The largest message that the service takes and that is taken from it. */
  static final int MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

  private static final Metadata.Key<String> TIME =
      Metadata.Key.of("keepstate-time", Metadata.ASCII_STRING_MARSHALLER);

  private final Channel channel;
  private final Supplier<Metadata> headers;
  private final ServiceClock clock;
  private final Time time;

  /**
   * Makes a sender.
   *
   * @param headers makes the metadata of each attempt; what it throws is the attempt's failure
   */
  Sender(Channel channel, Supplier<Metadata> headers, ServiceClock clock, Time time) {
    this.channel = channel;
    this.headers = headers;
    this.clock = clock;
    this.time = time;
  }

  /**
   * Calls the service once. Interrupting the thread ends it, and the thread stays interrupted.
   *
   * @param nanos how long it may take
   * @throws KeepstateException the call failed
   */
  <Q extends MessageLite, R> R send(
      MethodDescriptor<Q, R> method, Q message, long nanos, boolean writes) {
    refuseTooLarge(message);
    AtomicReference<Metadata> trailers = new AtomicReference<>();
    AtomicBoolean left = new AtomicBoolean();
    Channel intercepted =
        ClientInterceptors.intercept(
            channel,
            MetadataUtils.newAttachHeadersInterceptor(headers()),
            MetadataUtils.newCaptureMetadataInterceptor(new AtomicReference<>(), trailers));
    CallOptions options =
        CallOptions.DEFAULT
            .withDeadlineAfter(nanos, TimeUnit.NANOSECONDS)
            .withStreamTracerFactory(tracing(left));
    long sent = time.nanos();
    try {
      R answer = ClientCalls.blockingUnaryCall(intercepted, method, options, message);
      observe(trailers.get(), sent);
      return answer;
    } catch (StatusRuntimeException error) {
      observe(error.getTrailers(), sent);
      throw Errors.of(failure(error, left.get()), writes);
    }
  }

  private static void refuseTooLarge(MessageLite message) {
    int size = message.getSerializedSize();
    if (size > MAX_MESSAGE_BYTES) {
      String words =
          "the message has " + size + " bytes, more than the " + MAX_MESSAGE_BYTES + " of any";
      throw new ResourceExhaustedException(
          Failure.of(Status.Code.RESOURCE_EXHAUSTED, words).withNothingSent());
    }
  }

  private Metadata headers() {
    try {
      return headers.get();
    } catch (RuntimeException error) {
      // Not its words: they may have the token.
      String words = "the client's token function failed: " + error.getClass().getSimpleName();
      throw new UnauthenticatedException(
          Failure.of(Status.Code.UNAUTHENTICATED, words).withNothingSent().withCause(error));
    }
  }

  private void observe(Metadata trailers, long sent) {
    String stamp = trailers == null ? null : trailers.get(TIME);
    if (stamp != null) {
      clock.observe(stamp, sent, time.nanos());
    }
  }

  private static Failure failure(StatusRuntimeException error, boolean left) {
    Failure failure = Errors.failure(error.getStatus(), error.getTrailers());
    if (!failure.reason().isEmpty()) {
      return failure; // an answer of the service says all there is to say
    }
    Throwable root = error.getStatus().getCause();
    while (root != null && root.getCause() != null) {
      root = root.getCause();
    }
    if (root instanceof InvalidProtocolBufferException) { // gRPC calls that a cancelled call
      failure = Failure.of(Status.Code.INTERNAL, "the answer cannot be read");
    }
    Failure told = failure.withCause(error);
    if (root != null && root.getMessage() != null) {
      told = told.withMessage(failure.message() + ": " + root.getMessage());
    }
    return left ? told : told.withNothingSent();
  }

  /**
   * Notes whether a connection took the call: only then can the service see it. Not whether it was
   * written: what waits for a full connection is written yet, also when its time is up.
   */
  private static ClientStreamTracer.Factory tracing(AtomicBoolean left) {
    return new ClientStreamTracer.Factory() {
      @Override
      public ClientStreamTracer newClientStreamTracer(
          ClientStreamTracer.StreamInfo info, Metadata headers) {
        return new ClientStreamTracer() {
          @Override
          public void streamCreated(Attributes transport, Metadata headers) {
            left.set(true);
          }
        };
      }
    };
  }
}
