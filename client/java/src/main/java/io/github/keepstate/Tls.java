package io.github.keepstate;

import static java.util.Objects.requireNonNull;

import java.nio.file.Path;
import java.util.Optional;

/**
 * How a connection is encrypted, to a service whose certificate is verified. Files are PEM. They
 * are read once, when a client is built.
 *
 * @param ca the file of the CA that signed the service's certificate; empty: the public CAs that
 *     the JDK trusts
 * @param clientCertificate the file of the client's own certificate, and those between it and its
 *     CA, for services that demand one
 * @param clientKey the file of its private key, without a passphrase
 * @param serverName the name that the service's certificate must have; empty: the host of the
 *     address
 */
public record Tls(
    Optional<Path> ca,
    Optional<Path> clientCertificate,
    Optional<Path> clientKey,
    Optional<String> serverName) {

  /**
   * Refuses a client certificate without its key, and a key without its certificate.
   *
   * @param ca may be empty
   * @param clientCertificate there if {@code clientKey} is
   * @param clientKey there if {@code clientCertificate} is
   * @param serverName may be empty
   */
  public Tls {
    if (clientCertificate.isPresent() != clientKey.isPresent()) {
      throw new IllegalArgumentException(
          "give both clientCertificate and clientKey, or none of them");
    }
  }

  /**
   * For a service whose certificate is of a public CA.
   *
   * @return the settings
   */
  public static Tls ofPublicCas() {
    return new Tls(Optional.empty(), Optional.empty(), Optional.empty(), Optional.empty());
  }

  /**
   * For a service whose certificate is of this CA.
   *
   * @param file the CA's certificate
   * @return the settings
   */
  public static Tls ofCa(Path file) {
    requireNonNull(file, "file");
    return new Tls(Optional.of(file), Optional.empty(), Optional.empty(), Optional.empty());
  }

  /**
   * The same with a certificate of the client's own.
   *
   * @param certificate its file
   * @param key the file of its private key, without a passphrase
   * @return other settings
   */
  public Tls clientCertificate(Path certificate, Path key) {
    requireNonNull(certificate, "certificate");
    requireNonNull(key, "key");
    return new Tls(ca, Optional.of(certificate), Optional.of(key), serverName);
  }

  /**
   * The same, where the service's certificate has another name than the host of the address.
   *
   * @param name the name
   * @return other settings
   */
  public Tls serverName(String name) {
    return new Tls(ca, clientCertificate, clientKey, Optional.of(requireNonNull(name, "name")));
  }
}
