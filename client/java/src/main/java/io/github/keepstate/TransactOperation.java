package io.github.keepstate;

/** A part of what {@link State#transact} does, all or nothing. */
public sealed interface TransactOperation permits Check, Put, Delete, Update {}
