package keepstate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
)

// Kind is one thing that a caller would treat differently. errors.Is compares an error with it:
// errors.Is(err, keepstate.ErrConflict).
type Kind string

// What can go wrong.
const (
	// ErrNotFound: there is no such record, and the call needed one.
	ErrNotFound Kind = "not found"
	// ErrAlreadyExists: the write demanded absence, and there is a record.
	ErrAlreadyExists Kind = "already exists"
	// ErrConflict: somebody else wrote or deleted the record. Nothing was changed.
	ErrConflict Kind = "conflict"
	// ErrTransactionConflict: the transaction met writes of others again and again. Begin it anew. Also an ErrConflict.
	ErrTransactionConflict Kind = "transaction conflict"
	// ErrInvalidArgument: the request is wrong. Nothing was changed, and repeating it will not help.
	ErrInvalidArgument Kind = "invalid argument"
	// ErrStoreNotFound: the service knows no store of this name. Also an ErrInvalidArgument, and no ErrNotFound: a
	// mistyped store must not look like a missing record.
	ErrStoreNotFound Kind = "store not found"
	// ErrFailedPrecondition: the call does not fit the state of things. Nothing was changed.
	ErrFailedPrecondition Kind = "failed precondition"
	// ErrUnsupportedByStore: the store cannot keep a promise that the call needs. Nothing was changed. Also an
	// ErrFailedPrecondition.
	ErrUnsupportedByStore Kind = "unsupported by the store"
	// ErrUpdateNotApplicable: an update does not fit the value that it met, or goes out of bounds. Nothing was changed.
	// Also an ErrFailedPrecondition.
	ErrUpdateNotApplicable Kind = "update not applicable"
	// ErrUnavailable: the service, its sidecar or the store does not answer. A write was not applied.
	ErrUnavailable Kind = "unavailable"
	// ErrOutcomeUnknown: the write may have been applied, or may yet be. Read before writing again.
	ErrOutcomeUnknown Kind = "outcome unknown"
	// ErrDeadlineExceeded: time was up. A write was not applied. Also a context.DeadlineExceeded.
	ErrDeadlineExceeded Kind = "deadline exceeded"
	// ErrResourceExhausted: a limit is reached, of the service's load or of the size of a message.
	ErrResourceExhausted Kind = "resource exhausted"
	// ErrUnimplemented: this version of the service does not offer the call.
	ErrUnimplemented Kind = "unimplemented"
	// ErrUnauthenticated: the caller did not show who it is, or its token could not be had.
	ErrUnauthenticated Kind = "unauthenticated"
	// ErrPermissionDenied: the caller has no grant for this.
	ErrPermissionDenied Kind = "permission denied"
	// ErrInternal: a fault of the service, or of something between.
	ErrInternal Kind = "internal"
	// ErrCancelled: the call was cut short, by its context or by Close. A write was not sent. Where it was the context,
	// also a context.Canceled.
	ErrCancelled Kind = "cancelled"
	// ErrUsage: arguments that cannot be. Nothing was sent.
	ErrUsage Kind = "usage"
)

// Error says the kind.
func (k Kind) Error() string { return "keepstate: " + string(k) }

var parents = map[Kind]Kind{
	ErrTransactionConflict: ErrConflict,
	ErrStoreNotFound:       ErrInvalidArgument,
	ErrUnsupportedByStore:  ErrFailedPrecondition,
	ErrUpdateNotApplicable: ErrFailedPrecondition,
}

// Error is what every call of this package fails with, but for what a transaction's function returns and for values that
// JSON cannot say. errors.As finds it.
type Error struct {
	// Kind is what a caller acts on, the most special one that fits.
	Kind Kind
	// Message says what happened, for people. It may change between versions.
	Message string
	// Code is the call's gRPC code. OK: the error arose here, not at the service.
	Code codes.Code
	// Reason is the name in keepstate.v1.ErrorReason without its prefix, e.g. "ETAG_MISMATCH". Empty: nothing was said.
	Reason string
	// CorrelationID finds the call in the service's log. Empty: not known.
	CorrelationID string
	// NothingSent: for the failed write nothing was sent to the store. False: that is not known.
	NothingSent bool

	// Record is the record that the error is about. Nil: none was named.
	Record *RecordName
	// Etag is the record's etag now, of ErrConflict and ErrAlreadyExists. Empty: there is no record, or it is not known.
	Etag string
	// Violations are the fields that are wrong, of ErrInvalidArgument.
	Violations []FieldViolation
	// RetryAfter is how long the service asks to wait, of ErrUnavailable and ErrResourceExhausted. Nil: it did not say.
	RetryAfter *time.Duration
	// Limit is the limit that is reached, of ErrResourceExhausted, e.g. "calls under way". Empty: not said.
	Limit string
	// Capability is what the store lacks, of ErrUnsupportedByStore.
	Capability string
	// ForGood: what would tell has been forgotten, of ErrOutcomeUnknown. Sending the request again will not resolve it.
	ForGood bool
	// LastFailure is how the last attempt failed, of ErrOutcomeUnknown where an earlier one may have been applied. Nil: there
	// is none. It is not unwrapped: errors.Is tells what became of the whole call.
	LastFailure *Error

	cause error
}

// FieldViolation is one field of a request that is wrong.
type FieldViolation struct {
	// Field is its path in the request, e.g. "name.key" or "operations[3].put.value".
	Field string
	// Description says what is wrong with it.
	Description string
}

// Error says what happened, for people.
func (e *Error) Error() string {
	var text strings.Builder
	text.WriteString(e.Kind.Error())
	if e.Message != "" {
		text.WriteString(": " + e.Message)
	}
	for _, violation := range e.Violations {
		if !strings.Contains(e.Message, violation.Description) {
			fmt.Fprintf(&text, "; %s %s", violation.Field, violation.Description)
		}
	}
	if e.Record != nil {
		fmt.Fprintf(&text, ": %q", e.Record.Key)
	}
	return text.String()
}

// Is tells whether the error is of a kind, or of one that the kind is a special case of. Where time was up it is also a
// context.DeadlineExceeded.
func (e *Error) Is(target error) bool {
	for kind := e.Kind; kind != ""; kind = parents[kind] {
		if target == kind {
			return true
		}
	}
	return e.Code == codes.DeadlineExceeded && target == context.DeadlineExceeded
}

// Unwrap returns the error that led to this one, if one did: of the context, the token's function, a file, or a value.
func (e *Error) Unwrap() error { return e.cause }

// usage is an ErrUsage of this text, which unwraps to what %w is given.
func usage(format string, arguments ...any) *Error {
	said := fmt.Errorf(format, arguments...)
	return &Error{Kind: ErrUsage, Message: said.Error(), NothingSent: true, cause: errors.Unwrap(said)}
}

// notSent is the failure of a call that ended before anything was sent, by its context's error or otherwise.
func notSent(kind Kind, code codes.Code, message string, cause error) *Error {
	return &Error{Kind: kind, Code: code, Message: message, NothingSent: true, cause: cause}
}

// asError keeps a nil *Error from becoming an error that is not nil.
func asError(failure *Error) error {
	if failure == nil {
		return nil
	}
	return failure
}
