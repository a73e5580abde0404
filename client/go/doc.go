// Package keepstate is a client of Keepstate, a service that keeps records in the state stores that Dapr knows, under one
// contract on all of them.
//
// Make one [Client] with [New] and keep it: it has one connection, opened by the first call, and any number of goroutines
// may use it. [State.Namespace] and [State.Store] give views that share it.
//
// A call takes as long as its context allows, or 10 s where the context has no deadline. Within that time it is repeated
// while the service is unavailable or an answer was lost. Every write carries a request, by which the service knows a
// repeat and applies nothing twice; so an error means what it says. Each is an [*Error] of one [Kind]:
//
//	if errors.Is(err, keepstate.ErrConflict) {
//		// somebody else wrote the record: read it again
//	}
package keepstate

// Version is the version of this package.
const Version = "0.1.0"
