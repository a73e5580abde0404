package io.github.keepstate;

/** How a read or a write deals with copies of the store's data. */
public enum Consistency {
  /** Acknowledged by, and read from, the store's primary. The default. */
  STRONG(io.github.keepstate.v1.Consistency.CONSISTENCY_STRONG),

  /** May be read from, or acknowledged by, any copy that the store chooses. */
  EVENTUAL(io.github.keepstate.v1.Consistency.CONSISTENCY_EVENTUAL);

  final io.github.keepstate.v1.Consistency message;

  Consistency(io.github.keepstate.v1.Consistency message) {
    this.message = message;
  }
}
