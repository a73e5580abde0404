package io.github.keepstate;

import static java.util.Objects.requireNonNull;

import io.grpc.Metadata;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.Supplier;
import java.util.regex.Pattern;

/**
 * A client of the state service, and the view of its default namespace and store.
 *
 * <pre>{@code
 * try (KeepstateClient state = KeepstateClient.connect("localhost:7400")) {
 *   String etag = state.put("greeting", Value.text("hello"));
 * }
 * }</pre>
 *
 * <p>Make one and keep it: it has one connection, opened by the first call, which all calls and
 * views share. Any number of threads may use it at once, also virtual ones. A call waits for its
 * answer; interrupting its thread ends it.
 */
public final class KeepstateClient extends View implements AutoCloseable {
  private KeepstateClient(Connection connection, Scope scope, Duration timeout) {
    super(connection, scope, timeout);
  }

  /**
   * Makes a client without encryption, for a service on the same machine. Nothing is sent yet.
   *
   * @param address {@code host:port}
   * @return the client
   * @throws IllegalArgumentException the address has a scheme, or no port
   */
  public static KeepstateClient connect(String address) {
    return builder(address).build();
  }

  /**
   * Begins to make a client.
   *
   * @param address {@code host:port}
   * @return the builder
   * @throws IllegalArgumentException the address has a scheme, or no port
   */
  public static Builder builder(String address) {
    return new Builder(Address.parse(address));
  }

  /**
   * Closes the connection. Calls that are under way are cut short; later ones are an {@link
   * IllegalStateException}.
   */
  @Override
  public void close() {
    connection.close();
  }

  /** Says how a client is to be. */
  public static final class Builder {
    /** The client's own, and what HTTP/2 and gRPC-Java drop or take for a broken call. */
    private static final Pattern RESERVED =
        Pattern.compile(
            "authorization|grpc-.*|keepstate-.*|content-type|user-agent|te|host"
                + "|connection|keep-alive|proxy-connection|transfer-encoding|upgrade",
            Pattern.CASE_INSENSITIVE);

    private final Address address;
    private final Map<Metadata.Key<String>, String> metadata = new LinkedHashMap<>();
    private Supplier<String> token;
    private Tls tls;
    private Duration timeout = Duration.ofSeconds(10);
    private Retry retry = Retry.DEFAULT;
    private Time time = Time.SYSTEM;

    private Builder(Address address) {
      this.address = address;
    }

    /**
     * Encrypts the connection, and verifies the service.
     *
     * @param tls how
     * @return this
     */
    public Builder tls(Tls tls) {
      this.tls = requireNonNull(tls, "tls");
      return this;
    }

    /**
     * Shows a token with every call, as {@code authorization: Bearer <token>}. Without TLS only to
     * loopback.
     *
     * @param token printable ASCII without spaces
     * @return this
     * @throws IllegalArgumentException it has something else
     */
    public Builder token(String token) {
      bearer(requireNonNull(token, "token"));
      return token(() -> token);
    }

    /**
     * Shows a token with every call, as {@code authorization: Bearer <token>}. Without TLS only to
     * loopback.
     *
     * @param token asked before each attempt at a call, in the caller's thread, since tokens are
     *     renewed; where it throws, the call is an {@link UnauthenticatedException} with that as
     *     the cause, and nothing is sent
     * @return this
     */
    public Builder token(Supplier<String> token) {
      this.token = requireNonNull(token, "token");
      return this;
    }

    /**
     * Sends more metadata with every call, e.g. {@code dapr-app-id} through Dapr's service
     * invocation.
     *
     * @param key lower case; no {@code -bin}
     * @param value printable ASCII
     * @return this
     * @throws IllegalArgumentException key or value has something else, or the key is {@code
     *     authorization}, {@code grpc-…}, {@code keepstate-…}, or one of HTTP's own
     */
    public Builder metadata(String key, String value) {
      requireNonNull(value, "value");
      if (RESERVED.matcher(requireNonNull(key, "key")).matches()) {
        throw new IllegalArgumentException("metadata " + key + " is not for callers to set");
      }
      if (!value.chars().allMatch(each -> each >= ' ' && each <= '~')) {
        throw new IllegalArgumentException(
            "the value of metadata " + key + " must be printable ASCII");
      }
      metadata.put(Metadata.Key.of(key, Metadata.ASCII_STRING_MARSHALLER), value);
      return this;
    }

    /**
     * Says how long a call may take, with its repeats, unless a view says otherwise. 10 s by
     * default.
     *
     * @param timeout more than nothing
     * @return this
     * @throws IllegalArgumentException it is not
     */
    public Builder timeout(Duration timeout) {
      this.timeout = View.positive(timeout);
      return this;
    }

    /**
     * Says how calls are repeated when the service is unavailable or an answer was lost.
     *
     * @param retry how long to pause
     * @return this
     */
    public Builder retry(Retry retry) {
      this.retry = requireNonNull(retry, "retry");
      return this;
    }

    /**
     * Has no call repeated.
     *
     * @return this
     */
    public Builder withoutRetry() {
      this.retry = null;
      return this;
    }

    Builder time(Time time) {
      this.time = time;
      return this;
    }

    /**
     * Makes the client. Nothing is sent yet.
     *
     * @return the client
     * @throws IllegalArgumentException a file of {@code tls} is not what it should be, or there is
     *     a token that would go over a network in plaintext
     */
    public KeepstateClient build() {
      if (token != null && tls == null && !address.isLoopback()) {
        throw new IllegalArgumentException("a token needs tls, unless the host is loopback");
      }
      var channel = Channels.open(address, tls);
      ServiceClock clock = new ServiceClock(time);
      Sender sender = new Sender(channel, headers(Map.copyOf(metadata), token), clock, time);
      Connection connection = new Connection(channel, sender, clock, retry, time);
      return new KeepstateClient(connection, new Scope("", ""), timeout);
    }

    private static Supplier<Metadata> headers(
        Map<Metadata.Key<String>, String> metadata, Supplier<String> token) {
      return () -> {
        Metadata headers = new Metadata();
        metadata.forEach(headers::put);
        if (token != null) {
          headers.put(
              Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER),
              bearer(token.get()));
        }
        return headers;
      };
    }

    private static String bearer(String token) {
      if (token.isEmpty() || !token.chars().allMatch(each -> each > ' ' && each <= '~')) {
        throw new IllegalArgumentException("token must be printable ASCII without spaces");
      }
      return "Bearer " + token;
    }
  }
}
