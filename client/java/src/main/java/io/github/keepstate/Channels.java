package io.github.keepstate;

import io.grpc.ChannelCredentials;
import io.grpc.ConnectivityState;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.TlsChannelCredentials;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;

/** Makes the one channel of a client. */
final class Channels {
  private static final Duration FIRST_RECONNECT = Duration.ofMillis(100);
  private static final Duration LAST_RECONNECT = Duration.ofSeconds(5);

  private Channels() {}

  /**
   * Makes a channel that connects with the first call.
   *
   * @param tls null: plaintext
   * @throws IllegalArgumentException a file of {@code tls} is not what it should be
   */
  static ManagedChannel open(Address address, Tls tls) {
    ManagedChannelBuilder<?> builder =
        Grpc.newChannelBuilder(address.target(), credentials(tls))
            .userAgent("keepstate-java/" + version())
            .maxInboundMessageSize(Sender.MAX_MESSAGE_BYTES)
            .keepAliveTime(
                1, TimeUnit.MINUTES) // the service lets clients ping every 10 s; proxies may not
            .keepAliveTimeout(20, TimeUnit.SECONDS)
            .keepAliveWithoutCalls(
                true) // so that a dead connection is noticed before the next call
            .idleTimeout(Long.MAX_VALUE, TimeUnit.DAYS)
            // What is repeated is decided in one place, with the request's attempt counted.
            .disableRetry()
            .disableServiceConfigLookUp();
    if (address.isLoopback()) {
      builder.proxyDetector(target -> null); // a proxy cannot reach this machine's loopback
    }
    if (tls != null) {
      tls.serverName().ifPresent(builder::overrideAuthority);
    }
    ManagedChannel channel = builder.build();
    reconnect(channel, FIRST_RECONNECT);
    return channel;
  }

  /**
   * gRPC itself waits a second before it connects anew, and up to two minutes: longer than a
   * restart takes.
   */
  private static void reconnect(ManagedChannel channel, Duration pause) {
    ConnectivityState state = channel.getState(false);
    if (state == ConnectivityState.SHUTDOWN) {
      return;
    }
    if (state != ConnectivityState.TRANSIENT_FAILURE) {
      Duration next = state == ConnectivityState.READY ? FIRST_RECONNECT : pause;
      channel.notifyWhenStateChanged(state, () -> reconnect(channel, next));
      return;
    }
    Duration longer = pause.multipliedBy(2);
    Duration next = longer.compareTo(LAST_RECONNECT) < 0 ? longer : LAST_RECONNECT;
    Executor later = CompletableFuture.delayedExecutor(pause.toMillis(), TimeUnit.MILLISECONDS);
    later.execute(
        () -> {
          channel.resetConnectBackoff();
          reconnect(channel, next);
        });
  }

  private static ChannelCredentials credentials(Tls tls) {
    if (tls == null) {
      return InsecureChannelCredentials.create();
    }
    TlsChannelCredentials.Builder builder = TlsChannelCredentials.newBuilder();
    try {
      if (tls.ca().isPresent()) {
        builder.trustManager(Pem.certificates(tls.ca().get(), "tls.ca"));
      }
      if (tls.clientCertificate().isPresent()) {
        builder.keyManager(
            Pem.certificates(tls.clientCertificate().get(), "tls.clientCertificate"),
            Pem.key(tls.clientKey().orElseThrow(), "tls.clientKey"));
      }
    } catch (IOException impossible) {
      throw new UncheckedIOException(impossible); // they are in memory
    }
    return builder.build();
  }

  private static String version() {
    try (InputStream in = Channels.class.getResourceAsStream("client.properties")) {
      Properties properties = new Properties();
      properties.load(in);
      return properties.getProperty("version");
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }
}
