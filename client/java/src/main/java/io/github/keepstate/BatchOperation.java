package io.github.keepstate;

/** An operation that {@link State#batch} performs. */
public sealed interface BatchOperation permits Get, Put, Delete, Touch, Update {}
