package io.github.keepstate;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.util.Base64;
import java.util.HexFormat;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Reads what TLS needs from PEM files. */
final class Pem {
  private static final Pattern KEY =
      Pattern.compile(
          "-----BEGIN ((?:RSA |EC |ENCRYPTED )?PRIVATE KEY)-----([^-]*)-----END \\1-----");

  private static final byte[] RSA = HexFormat.of().parseHex("300d06092a864886f70d0101010500");
  private static final byte[] EC_PUBLIC_KEY = HexFormat.of().parseHex("06072a8648ce3d0201");
  private static final byte[] VERSION_0 = {2, 1, 0};

  private static final int SEQUENCE = 0x30;
  private static final int OCTETS = 0x04;
  private static final int EC_PARAMETERS = 0xa0;

  private Pem() {}

  /**
   * The certificates of a file.
   *
   * @throws IllegalArgumentException it cannot be read, or has none; the message has the field's
   *     name
   */
  static InputStream certificates(Path file, String field) {
    byte[] bytes = read(file, field);
    try {
      if (CertificateFactory.getInstance("X.509")
          .generateCertificates(new ByteArrayInputStream(bytes))
          .isEmpty()) {
        throw new CertificateException("there is none");
      }
    } catch (CertificateException error) {
      throw new IllegalArgumentException(field + " has no certificates in PEM: " + file, error);
    }
    return new ByteArrayInputStream(bytes);
  }

  /**
   * The private key of a file, as PKCS #8, the only form that Java reads.
   *
   * @throws IllegalArgumentException it cannot be read, or has none that is not encrypted
   */
  static InputStream key(Path file, String field) {
    Matcher found = KEY.matcher(new String(read(file, field), StandardCharsets.ISO_8859_1));
    if (!found.find() || found.group(1).startsWith("ENCRYPTED") || found.group(2).contains(":")) {
      throw new IllegalArgumentException(
          field + " has no private key in PEM without a passphrase: " + file);
    }
    byte[] pkcs8;
    try {
      byte[] der = Base64.getMimeDecoder().decode(found.group(2));
      pkcs8 =
          switch (found.group(1)) {
            case "RSA PRIVATE KEY" -> der(SEQUENCE, VERSION_0, RSA, der(OCTETS, der));
            case "EC PRIVATE KEY" ->
                der(
                    SEQUENCE,
                    VERSION_0,
                    der(SEQUENCE, EC_PUBLIC_KEY, curve(der)),
                    der(OCTETS, der));
            default -> der;
          };
    } catch (IllegalArgumentException | IndexOutOfBoundsException garbage) {
      throw new IllegalArgumentException(field + " has no private key that can be read: " + file);
    }
    String text =
        "-----BEGIN PRIVATE KEY-----\n"
            + Base64.getMimeEncoder().encodeToString(pkcs8)
            + "\n-----END PRIVATE KEY-----\n";
    return new ByteArrayInputStream(text.getBytes(StandardCharsets.US_ASCII));
  }

  private static byte[] read(Path file, String field) {
    try {
      return Files.readAllBytes(file);
    } catch (IOException error) {
      throw new IllegalArgumentException(field + " cannot be read: " + file, error);
    }
  }

  /** The curve's name in an EC private key (RFC 5915): after version and number, tagged 0. */
  private static byte[] curve(byte[] key) {
    int at = contents(key, 0);
    at = end(key, at); // the version
    at = end(key, at); // the number
    if ((key[at] & 0xff) != EC_PARAMETERS) {
      throw new IllegalArgumentException("it does not name its curve");
    }
    return java.util.Arrays.copyOfRange(key, contents(key, at), end(key, at));
  }

  /** Where the contents begin of the element at this place. */
  private static int contents(byte[] der, int at) {
    return at + 2 + (der[at + 1] < 0 ? der[at + 1] & 0x7f : 0);
  }

  private static int end(byte[] der, int at) {
    int length = 0;
    if (der[at + 1] >= 0) {
      length = der[at + 1];
    } else {
      for (int i = at + 2; i < contents(der, at); i++) {
        length = length << 8 | der[i] & 0xff;
      }
    }
    return contents(der, at) + length;
  }

  /** An element of ASN.1 in DER. */
  private static byte[] der(int tag, byte[]... parts) {
    ByteArrayOutputStream contents = new ByteArrayOutputStream();
    for (byte[] part : parts) {
      contents.writeBytes(part);
    }
    int size = contents.size();
    ByteArrayOutputStream element = new ByteArrayOutputStream();
    element.write(tag);
    if (size < 0x80) {
      element.write(size);
    } else if (size < 0x100) {
      element.writeBytes(new byte[] {(byte) 0x81, (byte) size});
    } else {
      element.writeBytes(new byte[] {(byte) 0x82, (byte) (size >> 8), (byte) size});
    }
    element.writeBytes(contents.toByteArray());
    return element.toByteArray();
  }
}
