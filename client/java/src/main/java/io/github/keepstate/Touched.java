package io.github.keepstate;

import io.github.keepstate.v1.TouchResponse;
import java.time.Instant;
import java.util.Optional;

/**
 * What a touch left.
 *
 * @param etag the record's etag, which the touch did not change
 * @param expireTime when the record expires now; empty: never
 */
public record Touched(String etag, Optional<Instant> expireTime) implements BatchResult {
  static Touched of(TouchResponse message) {
    return new Touched(
        message.getEtag(), Times.optional(message.hasExpireTime(), message.getExpireTime()));
  }
}
