package io.github.keepstate;

import static java.util.Objects.requireNonNull;

import com.google.protobuf.ByteString;
import java.nio.charset.StandardCharsets;

/**
 * Texts that go over the wire. Both protobuf and {@link String#getBytes} put a question mark where
 * UTF-8 cannot say half of a surrogate pair: so a record would be kept under another's key.
 */
final class Utf8 {
  private Utf8() {}

  /**
   * The text itself.
   *
   * @param name what the caller knows it as
   * @throws IllegalArgumentException it has half of a surrogate pair
   */
  static String checked(String text, String name) {
    if (!StandardCharsets.UTF_8.newEncoder().canEncode(requireNonNull(text, name))) {
      throw new IllegalArgumentException(name + " has half of a surrogate pair");
    }
    return text;
  }

  /**
   * The text in UTF-8.
   *
   * @param name what the caller knows it as
   * @throws IllegalArgumentException it has half of a surrogate pair
   */
  static ByteString bytes(String text, String name) {
    return ByteString.copyFromUtf8(checked(text, name));
  }
}
