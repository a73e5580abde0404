package io.github.keepstate;

import static java.util.Objects.requireNonNull;

import java.net.URI;
import java.net.URISyntaxException;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Where the service is.
 *
 * @param host a name or an address, an IPv6 one in brackets
 * @param port 1 to 65535
 */
record Address(String host, int port) {
  private static final Pattern FORM =
      Pattern.compile("(\\[[0-9A-Fa-f:.]+(?:%\\w+)?]|[^\\s:/?#\\[\\]]+):(\\d{1,5})");

  private static final Pattern LOOPBACK =
      Pattern.compile("(?i)localhost|127\\.\\d{1,3}\\.\\d{1,3}\\.\\d{1,3}|\\[::1]");

  /**
   * Reads {@code host:port}.
   *
   * @throws IllegalArgumentException it has a scheme, no port, or a host that gRPC does not take
   */
  static Address parse(String text) {
    Matcher matcher = FORM.matcher(requireNonNull(text, "address"));
    if (!matcher.matches()) {
      throw new IllegalArgumentException(
          "address must be host:port, without a scheme: \"" + text + "\"");
    }
    int port = Integer.parseInt(matcher.group(2));
    if (port < 1 || port > 65535) {
      throw new IllegalArgumentException("the address's port must be 1 to 65535: \"" + text + "\"");
    }
    try {
      if (matcher.group(1).equals(new URI("//" + text).getHost())) {
        return new Address(matcher.group(1), port);
      }
    } catch (URISyntaxException error) {
      // It names no host, then.
    }
    throw new IllegalArgumentException(
        "the address's host must be an address, or a name of letters, digits, '-' and '.': \""
            + text
            + "\"");
  }

  boolean isLoopback() {
    return LOOPBACK.matcher(host).matches();
  }

  /** For gRPC: to be looked up by the resolver of the system. */
  String target() {
    // It is a URI, in which these of an IPv6 address have another meaning.
    String quoted = host.replace("%", "%25").replace("[", "%5B").replace("]", "%5D");
    return "dns:///" + quoted + ":" + port;
  }
}
