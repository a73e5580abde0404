package keepstate

import (
	"context"
	"time"
	"unicode/utf8"
)

// State is a view of one namespace in one store. It costs nothing and is safe for use by many goroutines.
//
// Keys have 1 to 512 bytes of printable UTF-8 without "||"; by convention <domain>:<type>:<identifier>[:<sub-identifier>…].
type State struct {
	connection *connection
	scope      scope
}

// Namespace is the same store with another namespace. Empty: the default namespace.
func (s *State) Namespace(name string) *State {
	return &State{s.connection, scope{store: s.scope.store, namespace: name}}
}

// Store is the same namespace in another store, by the name of its Dapr component. Empty: the service's default store.
func (s *State) Store(name string) *State {
	return &State{s.connection, scope{store: name, namespace: s.scope.namespace}}
}

// sendable tells what keeps an operation from being sent.
func (s scope) sendable(operation *Operation) error {
	switch {
	case operation.err != nil:
		return operation.err
	case operation.kind == 0:
		return usage("it is no operation: Get, Put and others make one")
	case !utf8.ValidString(s.namespace):
		return usage("namespace: it is not UTF-8")
	case !utf8.ValidString(s.store):
		return usage("store: it is not UTF-8")
	}
	return nil
}

// Get reads a record. Where there is none it fails with ErrNotFound, reason RECORD_NOT_FOUND; without that reason it was not
// the service that found nothing, but something between.
//
// Options: SlideTTL, Strong, Eventual, InNamespace, InStore.
func (s *State) Get(ctx context.Context, key string, options ...OpOption) (*Record, error) {
	operation := Get(key, options...)
	if err := s.scope.sendable(&operation); err != nil {
		return nil, err
	}
	found, failure := s.connection.get(ctx, operation.getMessage(s.scope))
	return recordOf(found), asError(failure)
}

// GetJSON reads a record's value as JSON. Where there is none it fails with ErrNotFound.
func GetJSON[T any](ctx context.Context, s *State, key string, options ...OpOption) (T, error) {
	var value T
	record, err := s.Get(ctx, key, options...)
	if err != nil {
		return value, err
	}
	err = record.DecodeJSON(&value)
	return value, err
}

// Put stores a value and returns its etag. Without a condition the last write wins; without an expiry the record never expires.
//
// Options: IfAbsent, IfExists, IfEtag; TTL, ExpireAt, KeepExpiry; ContentType, Strong, Eventual, InNamespace, InStore.
func (s *State) Put(ctx context.Context, key string, value []byte, options ...OpOption) (etag string, err error) {
	return s.put(ctx, Put(key, value, options...))
}

// PutJSON stores what json.Marshal makes of a value, and returns the record's etag. The options are those of Put.
func (s *State) PutJSON(ctx context.Context, key string, value any, options ...OpOption) (etag string, err error) {
	return s.put(ctx, PutJSON(key, value, options...))
}

func (s *State) put(ctx context.Context, operation Operation) (string, error) {
	if err := s.scope.sendable(&operation); err != nil {
		return "", err
	}
	request := s.connection.nextRequest()
	answer, failure := call(ctx, s.connection, s.connection.state.Put, operation.putMessage(s.scope, request), request)
	return answer.GetEtag(), asError(failure)
}

// Delete deletes a record and says whether there was one.
//
// Options: IfExists, IfEtag, Strong, Eventual, InNamespace, InStore.
func (s *State) Delete(ctx context.Context, key string, options ...OpOption) (existed bool, err error) {
	operation := Delete(key, options...)
	if err := s.scope.sendable(&operation); err != nil {
		return false, err
	}
	request := s.connection.nextRequest()
	answer, failure := call(ctx, s.connection, s.connection.state.Delete, operation.deleteMessage(s.scope, request), request)
	return answer.GetExisted(), asError(failure)
}

// Touch moves a record's expiry without sending the value, and returns its etag, which stays, and when it expires now; zero:
// never. Where there is no record it fails with ErrNotFound.
//
// Options: one of TTL, ExpireAt, Never; IfExists, IfEtag, Strong, Eventual, InNamespace, InStore.
func (s *State) Touch(ctx context.Context, key string, options ...OpOption) (etag string, expires time.Time, err error) {
	operation := Touch(key, options...)
	if err := s.scope.sendable(&operation); err != nil {
		return "", time.Time{}, err
	}
	request := s.connection.nextRequest()
	answer, failure := call(ctx, s.connection, s.connection.state.Touch, operation.touchMessage(s.scope, request), request)
	return answer.GetEtag(), timeOf(answer.GetExpireTime()), asError(failure)
}

// Increment adds to a number that is kept as decimal text, at the service; an absent record counts as 0. Where the value is no
// number, or the result is out of bounds, it fails with ErrUpdateNotApplicable.
//
// Options: Initial, Minimum, Maximum; those of Put but for ContentType.
func (s *State) Increment(ctx context.Context, key string, delta int64, options ...OpOption) (Updated, error) {
	return s.update(ctx, Increment(key, delta, options...))
}

// Append adds items to the end of a JSON list, at the service; an absent record counts as the empty list. Each item is sent
// as json.Marshal makes it, a json.RawMessage as it is.
//
// Options: MaxLength; those of Put but for ContentType.
func (s *State) Append(ctx context.Context, key string, items []any, options ...OpOption) (Updated, error) {
	return s.update(ctx, Append(key, items, options...))
}

// MergePatch merges a patch into a JSON value as RFC 7396 says, at the service; an absent record counts as the empty object.
//
// Options: those of Put but for ContentType.
func (s *State) MergePatch(ctx context.Context, key string, patch any, options ...OpOption) (Updated, error) {
	return s.update(ctx, MergePatch(key, patch, options...))
}

func (s *State) update(ctx context.Context, operation Operation) (Updated, error) {
	if err := s.scope.sendable(&operation); err != nil {
		return Updated{}, err
	}
	request := s.connection.nextRequest()
	answer, failure := call(ctx, s.connection, s.connection.state.Update, operation.updateMessage(s.scope, request), request)
	if failure != nil {
		return Updated{}, failure
	}
	return Updated{Record: recordOf(answer.GetRecord()), Repeated: answer.GetRepeated()}, nil
}
