package io.github.keepstate;

import com.google.protobuf.MessageLite;
import io.github.keepstate.v1.GetStoreRequest;
import io.github.keepstate.v1.RequestId;
import io.github.keepstate.v1.StoreServiceGrpc;
import io.grpc.Context;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.security.SecureRandom;
import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.OptionalLong;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Function;

/** What all views of a client share: repeats, requests and the service's clock. */
final class Connection {
  private final ManagedChannel channel;
  private final Sender sender;
  private final ServiceClock clock;
  private final Retry retry;
  private final Time time;
  private final AtomicLong writes = new AtomicLong();
  private final ReentrantLock learning = new ReentrantLock();
  private volatile boolean closed;

  /** Of the pauses that there are: what ends them. */
  private final Set<CountDownLatch> pauses = ConcurrentHashMap.newKeySet();

  /** Tells this client's writes from others'. 0: there was none yet. */
  private final AtomicLong client = new AtomicLong();

  /**
   * Makes a connection.
   *
   * @param retry null: nothing is repeated
   */
  Connection(ManagedChannel channel, Sender sender, ServiceClock clock, Retry retry, Time time) {
    this.channel = channel;
    this.sender = sender;
    this.clock = clock;
    this.retry = retry;
    this.time = time;
  }

  /** Cuts short what is under way and lets the channel go. */
  void close() {
    closed = true;
    channel.shutdownNow();
    pauses.forEach(CountDownLatch::countDown);
  }

  /** Nanoseconds to wait before a transaction runs again, whether calls are repeated or not. */
  long pauseBetweenRuns(int run) {
    return (retry == null ? Retry.DEFAULT : retry).pause(run);
  }

  /** What tells the next write from all others. The time is filled in when it is sent. */
  RequestId nextRequest() {
    // Drawn with the first write: a process that was copied before it must not share it with its
    // copy.
    if (client.get() == 0) {
      client.compareAndSet(
          0, new SecureRandom().longs().filter(each -> each != 0).findFirst().getAsLong());
    }
    return RequestId.newBuilder()
        .setClient(client.get())
        .setNumber(writes.incrementAndGet())
        .build();
  }

  /**
   * Reads, again where that helps.
   *
   * @throws KeepstateException the call failed
   */
  <Q extends MessageLite, R> R read(MethodDescriptor<Q, R> method, Q message, Duration timeout) {
    return call(method, request -> message, new Part(null), timeout);
  }

  /**
   * Writes, again where that is safe and helps.
   *
   * @param message makes the message with a request
   * @throws KeepstateException the call failed
   */
  <Q extends MessageLite, R> R write(
      MethodDescriptor<Q, R> method, Function<RequestId, Q> message, Duration timeout) {
    return call(method, message, new Part(nextRequest()), timeout);
  }

  private <Q extends MessageLite, R> R call(
      MethodDescriptor<Q, R> method, Function<RequestId, Q> message, Part part, Duration timeout) {
    Attempts attempts = begin(List.of(part), timeout);
    while (true) {
      KeepstateException failure;
      try {
        return send(method, message.apply(part.request), attempts.next(), part.request != null);
      } catch (KeepstateException error) {
        failure = error;
      }
      KeepstateException told = part.failed(failure);
      if (!pauseAfter(List.of(failure), attempts)) {
        throw ended(told);
      }
      renew(part, failure);
    }
  }

  /**
   * Begins a call with these parts, and stamps their requests with the service's time.
   *
   * @throws DeadlineExceededException the call writes, and its time was up before the service told
   *     its time
   * @throws CancelledException the thread is interrupted
   * @throws IllegalStateException the client is closed
   */
  Attempts begin(Collection<? extends Part> parts, Duration timeout) {
    if (closed) {
      throw new IllegalStateException("the client is closed");
    }
    Attempts attempts = new Attempts(time, retry, timeout);
    refuseIfCallerGone();
    if (parts.stream().anyMatch(part -> part.request != null)) {
      learnTime(attempts);
      refuseIfCallerGone();
      if (attempts.left() <= 0) {
        throw new DeadlineExceededException(
            Failure.of(Status.Code.DEADLINE_EXCEEDED, "time was up before the write was sent")
                .withNothingSent());
      }
      parts.stream().filter(part -> part.request != null).forEach(this::stamp);
    }
    return attempts;
  }

  /** Calls the service once. */
  <Q extends MessageLite, R> R send(
      MethodDescriptor<Q, R> method, Q message, long nanos, boolean writes) {
    try {
      return sender.send(method, message, nanos, writes);
    } catch (UnavailableException | OutcomeUnknownException error) {
      if (!closed || !error.reason().isEmpty()) {
        throw error;
      }
      Failure failure =
          Failure.of(Status.Code.CANCELLED, "the client was closed during the call")
              .withCause(error);
      throw Errors.of(error.nothingSent() ? failure.withNothingSent() : failure, writes);
    }
  }

  /** Waits until what failed so is to be sent again. False: it is not. */
  boolean pauseAfter(Collection<? extends KeepstateException> failures, Attempts attempts) {
    OptionalLong pause = attempts.pauseAfter(failures);
    return pause.isPresent() && pause(pause.getAsLong(), attempts);
  }

  /**
   * Waits so long before another attempt. False: the time does not allow one, or nobody waits for
   * it any more.
   */
  boolean pause(long nanos, Attempts attempts) {
    CountDownLatch ended = new CountDownLatch(1);
    Context.CancellationListener ending = context -> ended.countDown();
    Context context = Context.current();
    pauses.add(ended);
    context.addListener(ending, Runnable::run);
    try {
      if (closed || callerGone() || nanos >= attempts.left()) {
        return false;
      }
      time.sleep(nanos, ended);
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
      return false;
    } finally {
      context.removeListener(ending);
      pauses.remove(ended);
    }
    return attempts.left() > 0 && !closed && !callerGone();
  }

  /** What a call ends with that is not sent again: where its caller went during a pause, that. */
  KeepstateException ended(KeepstateException told) {
    if (!callerGone() || !Attempts.mayBeRepeated(told) || told instanceof OutcomeUnknownException) {
      return told;
    }
    return cancelled(told);
  }

  /** What a transaction ends with that does not run again, though others have overtaken it. */
  KeepstateException overtaken(KeepstateException last) {
    return callerGone() ? cancelled(last) : last;
  }

  private static CancelledException cancelled(KeepstateException last) {
    String words = "the caller was interrupted before another attempt: " + last.getMessage();
    Failure failure = Failure.of(Status.Code.CANCELLED, words).withCause(last);
    return new CancelledException(last.nothingSent() ? failure.withNothingSent() : failure);
  }

  /** Makes a part whose last attempt failed so ready for the next. */
  void renew(Part part, KeepstateException failure) {
    if (part.request == null) {
      return;
    }
    if (part.isUnseen(failure)) {
      // As a new request it costs the service less, and does not grow too old to be told.
      part.request = nextRequest();
      stamp(part);
    } else {
      part.request = part.request.toBuilder().setAttempt(part.request.getAttempt() + 1).build();
    }
  }

  private void stamp(Part part) {
    part.request = part.request.toBuilder().setFirstSent(Times.message(clock.now())).build();
  }

  /**
   * Whether the caller wants no answer any more: its thread was interrupted, or the call that it
   * serves is over.
   */
  private static boolean callerGone() {
    return Thread.currentThread().isInterrupted() || Context.current().isCancelled();
  }

  private static void refuseIfCallerGone() {
    if (callerGone()) {
      throw new CancelledException(
          Failure.of(Status.Code.CANCELLED, "the caller was interrupted before anything was sent")
              .withNothingSent());
    }
  }

  /**
   * Asks for the service's time before the first write: by a wrong one it would be refused, or
   * taken for old.
   */
  private void learnTime(Attempts attempts) {
    try {
      // Of several first writes one asks, with its own time; the others wait no longer than theirs.
      if (clock.known() || !learning.tryLock(attempts.next(), TimeUnit.NANOSECONDS)) {
        return;
      }
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
      return;
    }
    try {
      if (!clock.known()) {
        send(
            StoreServiceGrpc.getGetStoreMethod(),
            GetStoreRequest.getDefaultInstance(),
            attempts.next(),
            false);
      }
    } catch (KeepstateException refused) {
      // That tells the time too. Where nobody answers, the write's own failure says it better.
    } finally {
      learning.unlock();
    }
  }
}
