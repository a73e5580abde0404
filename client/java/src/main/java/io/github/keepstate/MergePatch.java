package io.github.keepstate;

import com.google.protobuf.ByteString;
import io.github.keepstate.v1.UpdateRequest;

/**
 * Merges into a JSON value as RFC 7396 says: null removes a member. An absent record counts as the
 * empty object.
 */
public final class MergePatch extends ValueUpdate<MergePatch> implements Update {
  private final ByteString patch;

  private MergePatch(Terms terms, ByteString patch) {
    super(terms);
    this.patch = patch;
  }

  /**
   * Merges into the value under a key.
   *
   * @param key in the view's namespace and store, unless told otherwise
   * @param patch a JSON text
   * @return the operation
   */
  public static MergePatch of(String key, String patch) {
    return new MergePatch(Terms.of(key), Utf8.bytes(patch, "patch"));
  }

  /**
   * Merges into the value under a key.
   *
   * @param key in the view's namespace and store, unless told otherwise
   * @param patch a JSON text in UTF-8
   * @return the operation
   */
  public static MergePatch of(String key, byte[] patch) {
    return new MergePatch(Terms.of(key), ByteString.copyFrom(patch));
  }

  @Override
  MergePatch with(Terms terms) {
    return new MergePatch(terms, patch);
  }

  @Override
  void change(UpdateRequest.Builder request) {
    request.setMergePatch(io.github.keepstate.v1.MergePatch.newBuilder().setPatch(patch));
  }
}
