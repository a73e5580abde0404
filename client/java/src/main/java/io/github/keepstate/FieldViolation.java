package io.github.keepstate;

import java.io.Serializable;

/**
 * One field of a request that is wrong.
 *
 * @param field its path in the request, e.g. "name.key" or "operations[3].put.value"
 * @param description what is wrong with it
 */
public record FieldViolation(String field, String description) implements Serializable {}
