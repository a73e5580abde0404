package io.github.keepstate;

import io.github.keepstate.v1.Record;
import java.time.Instant;
import java.util.Optional;

/**
 * One record as it was kept at one moment. Times are by the service's clock.
 *
 * @param name with the store filled in
 * @param value bytes and content type
 * @param etag opaque; good for exactly one version in one life of the record
 * @param createTime when this life of the record began; empty where it began with another program's
 *     write
 * @param updateTime when the value was last written; empty for a value that another program wrote
 * @param expireTime when the record ceases to exist; empty: never
 */
public record StateRecord(
    RecordName name,
    Value value,
    String etag,
    Optional<Instant> createTime,
    Optional<Instant> updateTime,
    Optional<Instant> expireTime) {

  static StateRecord of(Record message) {
    return new StateRecord(
        RecordName.of(message.getName()),
        Value.of(message.getValue(), message.getContentType()),
        message.getEtag(),
        Times.optional(message.hasCreateTime(), message.getCreateTime()),
        Times.optional(message.hasUpdateTime(), message.getUpdateTime()),
        Times.optional(message.hasExpireTime(), message.getExpireTime()));
  }
}
