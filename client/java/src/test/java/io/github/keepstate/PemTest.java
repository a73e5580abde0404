package io.github.keepstate;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyPairGenerator;
import java.security.PrivateKey;
import java.security.interfaces.ECPrivateKey;
import java.security.spec.ECGenParameterSpec;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Arrays;
import java.util.Base64;
import java.util.HexFormat;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Private keys in the forms that tools write. */
class PemTest {
  @TempDir Path folder;

  private Path file(String type, byte[] der) throws Exception {
    String text =
        "-----BEGIN %s-----\n%s\n-----END %s-----\n"
            .formatted(type, Base64.getMimeEncoder().encodeToString(der), type);
    return Files.writeString(folder.resolve("key.pem"), text);
  }

  private static PrivateKey key(String algorithm, Path file) throws Exception {
    String pem = new String(Pem.key(file, "key").readAllBytes(), StandardCharsets.US_ASCII);
    byte[] der = Base64.getMimeDecoder().decode(pem.replaceAll("-----[^-]+-----", ""));
    return KeyFactory.getInstance(algorithm).generatePrivate(new PKCS8EncodedKeySpec(der));
  }

  @Test
  void keysInPkcs8AreTakenAsTheyAre() throws Exception {
    PrivateKey key = KeyPairGenerator.getInstance("RSA").generateKeyPair().getPrivate();
    assertEquals(key, key("RSA", file("PRIVATE KEY", key.getEncoded())));
  }

  @Test
  void keysOfRsaInPkcs1AreTaken() throws Exception {
    PrivateKey key = KeyPairGenerator.getInstance("RSA").generateKeyPair().getPrivate();
    byte[] pkcs8 = key.getEncoded(); // ends with the PKCS #1 form, after 26 bytes about it
    byte[] pkcs1 = Arrays.copyOfRange(pkcs8, 26, pkcs8.length);
    assertEquals(key, key("RSA", file("RSA PRIVATE KEY", pkcs1)));
  }

  @Test
  void keysOfEllipticCurvesInTheirOldFormAreTaken() throws Exception {
    KeyPairGenerator generator = KeyPairGenerator.getInstance("EC");
    generator.initialize(new ECGenParameterSpec("secp256r1"));
    ECPrivateKey key = (ECPrivateKey) generator.generateKeyPair().getPrivate();
    byte[] number = new byte[32];
    byte[] digits = key.getS().toByteArray();
    int length = Math.min(32, digits.length);
    System.arraycopy(digits, digits.length - length, number, 32 - length, length);
    // RFC 5915: a sequence of the version, the number, and the curve's name (secp256r1) tagged 0.
    byte[] sec1 =
        HexFormat.of()
            .parseHex(
                "3031"
                    + "020101"
                    + "0420"
                    + HexFormat.of().formatHex(number)
                    + "a00a06082a8648ce3d030107");
    ECPrivateKey read = (ECPrivateKey) key("EC", file("EC PRIVATE KEY", sec1));
    assertEquals(key.getS(), read.getS());
    assertArrayEquals(
        key.getParams().getCurve().getA().toByteArray(),
        read.getParams().getCurve().getA().toByteArray());
  }

  @Test
  void whatIsNoKeyIsNamed() throws Exception {
    for (Path file :
        new Path[] {
          file("CERTIFICATE", new byte[] {1}),
          file("ENCRYPTED PRIVATE KEY", new byte[] {1}),
          file("EC PRIVATE KEY", new byte[] {48, 3, 2, 1, 1}),
          folder.resolve("none")
        }) {
      var error =
          assertThrows(IllegalArgumentException.class, () -> Pem.key(file, "tls.clientKey"));
      assertTrue(error.getMessage().startsWith("tls.clientKey "), error.getMessage());
    }
  }

  @Test
  void whatHasNoCertificateIsNamed() throws Exception {
    Path file = Files.writeString(folder.resolve("ca.pem"), "nothing");
    var error =
        assertThrows(IllegalArgumentException.class, () -> Pem.certificates(file, "tls.ca"));
    assertTrue(error.getMessage().startsWith("tls.ca has no certificates"), error.getMessage());
  }
}
