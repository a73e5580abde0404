package io.github.keepstate;

import static java.util.Objects.requireNonNull;

import com.google.protobuf.ByteString;
import io.github.keepstate.v1.UpdateRequest;
import java.util.Arrays;
import java.util.List;

/** Adds to the end of a JSON list. An absent record counts as the empty list. */
public final class Append extends ValueUpdate<Append> implements Update {
  private final io.github.keepstate.v1.Append append;

  private Append(Terms terms, io.github.keepstate.v1.Append append) {
    super(terms);
    this.append = append;
  }

  /**
   * Adds to the list under a key.
   *
   * @param key in the view's namespace and store, unless told otherwise
   * @param items what to add: 1 to 10,000 JSON texts, one value each
   * @return the operation
   */
  public static Append of(String key, String... items) {
    return ofBytes(key, Arrays.stream(items).map(item -> Utf8.bytes(item, "item")).toList());
  }

  /**
   * Adds to the list under a key.
   *
   * @param key in the view's namespace and store, unless told otherwise
   * @param items what to add: 1 to 10,000 JSON texts in UTF-8, one value each
   * @return the operation
   */
  public static Append of(String key, List<byte[]> items) {
    return ofBytes(
        key,
        items.stream().map(item -> ByteString.copyFrom(requireNonNull(item, "item"))).toList());
  }

  private static Append ofBytes(String key, List<ByteString> items) {
    return new Append(
        Terms.of(key), io.github.keepstate.v1.Append.newBuilder().addAllItems(items).build());
  }

  /**
   * The same, of which the newest items are kept.
   *
   * @param items how many, at least 1
   * @return another operation
   * @throws IllegalArgumentException it is less than 1
   */
  public Append maxLength(int items) {
    if (items < 1) {
      throw new IllegalArgumentException("maxLength must be at least 1, not " + items);
    }
    return new Append(terms, append.toBuilder().setMaxLength(items).build());
  }

  @Override
  Append with(Terms terms) {
    return new Append(terms, append);
  }

  @Override
  void change(UpdateRequest.Builder request) {
    request.setAppend(append);
  }
}
