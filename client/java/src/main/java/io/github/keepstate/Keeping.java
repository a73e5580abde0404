package io.github.keepstate;

/** How a promise of the contract is kept on a store. */
public enum Keeping {
  /** By what the store itself does. */
  NATIVE,

  /** By the service, in several steps on the store. */
  STAGED,

  /** Not: calls that need it are refused before anything is changed. */
  REFUSED,

  /** In a way that this version of the client does not know. */
  UNKNOWN
}
