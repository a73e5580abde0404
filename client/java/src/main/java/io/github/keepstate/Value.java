package io.github.keepstate;

import static java.util.Objects.requireNonNull;

import com.google.protobuf.ByteString;
import java.nio.charset.StandardCharsets;

/**
 * What a record holds: bytes, and what they are. Immutable; the arrays that go in and come out are
 * copies.
 *
 * <p>For objects, bring your own JSON library: {@code Value.json(mapper.writeValueAsString(user))}.
 */
public final class Value {
  private final ByteString bytes;
  private final String contentType;

  private Value(ByteString bytes, String contentType) {
    this.bytes = bytes;
    this.contentType = Utf8.checked(contentType, "contentType");
  }

  /**
   * Bytes, of the content type {@code application/octet-stream}.
   *
   * @param bytes any, also none
   * @return the value
   */
  public static Value of(byte[] bytes) {
    return of(bytes, "application/octet-stream");
  }

  /**
   * Bytes of a content type.
   *
   * @param bytes any, also none
   * @param contentType up to 128 bytes of printable ASCII; kept and returned as given
   * @return the value
   */
  public static Value of(byte[] bytes, String contentType) {
    return new Value(ByteString.copyFrom(requireNonNull(bytes, "bytes")), contentType);
  }

  /**
   * Text in UTF-8, of the content type {@code text/plain}.
   *
   * @param text the text
   * @return the value
   */
  public static Value text(String text) {
    return new Value(Utf8.bytes(text, "text"), "text/plain");
  }

  /**
   * A JSON text, of the content type {@code application/json}.
   *
   * @param json the text; it is not parsed
   * @return the value
   */
  public static Value json(String json) {
    return new Value(Utf8.bytes(json, "json"), "application/json");
  }

  static Value of(ByteString bytes, String contentType) {
    return new Value(bytes, contentType);
  }

  /**
   * A copy of the bytes.
   *
   * @return the bytes
   */
  public byte[] bytes() {
    return bytes.toByteArray();
  }

  /**
   * The bytes read as UTF-8. What is not UTF-8 becomes U+FFFD.
   *
   * @return the text
   */
  public String utf8() {
    return bytes.toString(StandardCharsets.UTF_8);
  }

  /**
   * The bytes read as decimal text, as {@link Increment} leaves it.
   *
   * @return the number
   * @throws NumberFormatException it is no whole number of 64 bits
   */
  public long number() {
    try {
      return Long.parseLong(utf8());
    } catch (NumberFormatException error) {
      // Not its words: they have the value.
      throw new NumberFormatException("the value is no whole number of 64 bits: " + this);
    }
  }

  /**
   * What the writer said the value is.
   *
   * @return the content type; empty for a value that another program wrote
   */
  public String contentType() {
    return contentType;
  }

  ByteString message() {
    return bytes;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof Value value
        && bytes.equals(value.bytes)
        && contentType.equals(value.contentType);
  }

  @Override
  public int hashCode() {
    return 31 * bytes.hashCode() + contentType.hashCode();
  }

  /** Says what and how much it is, not the bytes: they belong in no log. */
  @Override
  public String toString() {
    return "Value[" + bytes.size() + " bytes, " + contentType + "]";
  }
}
