/**
 * A client of Keepstate, a gRPC service that keeps records in Dapr's state stores under one
 * contract.
 *
 * <p>{@link io.github.keepstate.KeepstateClient} is where to begin; {@link
 * io.github.keepstate.State} has the calls.
 */
package io.github.keepstate;
