package keepstate

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	pb "github.com/keepstate/keepstate/client/go/keepstatev1"
)

// try is what one run of a transaction's function has read and what is to be written, by the names that were asked for.
type try struct {
	connection *connection
	// deadline is that of the whole transaction.
	deadline time.Time

	mu     sync.Mutex
	reads  inOrder[*pb.Record] // nil: there is no record
	writes inOrder[pendingWrite]
	// failed is the first read or write that failed, but for a missing record. Nil: there is none.
	failed *Error
	over   bool
}

// pendingWrite is a *pb.PutRequest, a *pb.DeleteRequest or a *pb.UpdateRequest.
type pendingWrite interface {
	GetName() *pb.RecordName
	GetPrecondition() *pb.Precondition
}

// inOrder is a map that remembers the order in which names came.
type inOrder[V any] struct {
	names  []RecordName
	values map[RecordName]V
}

func (m *inOrder[V]) get(name RecordName) (V, bool) {
	value, there := m.values[name]
	return value, there
}

func (m *inOrder[V]) set(name RecordName, value V) {
	if _, there := m.values[name]; !there {
		m.names = append(m.names, name)
	}
	m.values[name] = value
}

func newTry(c *connection, deadline time.Time) *try {
	return &try{
		connection: c,
		deadline:   deadline,
		reads:      inOrder[*pb.Record]{values: map[RecordName]*pb.Record{}},
		writes:     inOrder[pendingWrite]{values: map[RecordName]pendingWrite{}},
	}
}

const errOver = "the transaction is over: read and write before its function returns"

// read reads a record for the first time, or says again what was read; of one that was written, what was written.
func (t *try) read(ctx context.Context, name RecordName, message *pb.GetRequest) (*pb.Record, *Error) {
	if found, known, failure := t.remembered(name); known || failure != nil {
		return found, failure
	}
	ctx, cancel := context.WithDeadline(ctx, t.deadline)
	defer cancel()
	answer, failure := t.connection.get(ctx, message)
	if failure != nil && !failure.saysMissing() {
		return nil, failure
	}
	t.mu.Lock()
	if _, known := t.reads.get(name); !known && !t.over { // not what a read at the same time was told otherwise
		t.reads.set(name, answer)
	}
	t.mu.Unlock()
	found, _, failure := t.remembered(name)
	return found, failure
}

// remembered is what the transaction knows of a record. false: nothing.
func (t *try) remembered(name RecordName) (*pb.Record, bool, *Error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return nil, false, usage(errOver)
	}
	found, known := t.reads.get(name)
	if pending, written := t.writes.get(name); written {
		known = true
		switch pending := pending.(type) {
		case *pb.PutRequest:
			found = &pb.Record{Name: pending.Name, Value: pending.Value, ContentType: pending.ContentType}
		case *pb.DeleteRequest:
			found = nil
		default:
			return nil, true, usage("the transaction updates %q: what that leaves is known only afterwards", name.Key)
		}
	}
	if known && found == nil {
		return nil, true, missing(name)
	}
	return found, known, nil
}

// saysMissing tells whether the service says that there is no record, rather than e.g. a proxy that found no service.
func (e *Error) saysMissing() bool { return e.Kind == ErrNotFound && e.Reason == reasonNotFound }

const reasonNotFound = "RECORD_NOT_FOUND"

func missing(name RecordName) *Error {
	return &Error{
		Kind: ErrNotFound, Code: codes.NotFound, Reason: reasonNotFound, Message: "there is no such record", Record: &name,
	}
}

// write notes a write for the end.
func (t *try) write(operation *Operation, in scope) *Error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return usage(errOver)
	}
	failure := t.note(operation, in)
	if t.failed == nil {
		t.failed = failure
	}
	return failure
}

// fail takes in how a read failed: a transaction must not rest on what it does not know.
func (t *try) fail(failure *Error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed == nil && !t.over && !failure.saysMissing() {
		t.failed = failure
	}
}

func (t *try) note(operation *Operation, in scope) *Error {
	if err := in.sendable(operation); err != nil {
		failure := &Error{}
		errors.As(err, &failure)
		return failure
	}
	name := operation.name(in)
	earlier, written := t.writes.get(name)
	if written {
		if failure := follow(operation, earlier, name.Key); failure != nil {
			return failure
		}
	}
	var pending pendingWrite
	switch operation.kind {
	case kindPut:
		pending = operation.putMessage(in, nil)
	case kindDelete:
		pending = operation.deleteMessage(in, nil)
	default:
		pending = operation.updateMessage(in, nil)
	}
	t.writes.set(name, pending)
	return nil
}

// follow makes one write of two to the same record: the second one, on the conditions of the first.
func follow(operation *Operation, earlier pendingWrite, key string) *Error {
	if _, updates := earlier.(*pb.UpdateRequest); updates || operation.kind&kindUpdates != 0 {
		return usage("the transaction writes %q already: an update must be the only write to its record", key)
	}
	if operation.condition != nil {
		return usage("the transaction writes %q already: the second write cannot have a condition", key)
	}
	operation.condition = earlier.GetPrecondition()
	if !operation.expiry.keep {
		return nil
	}
	operation.expiry = expiry{} // of a deleted record there is none
	if put, is := earlier.(*pb.PutRequest); is {
		switch given := put.Expiry.(type) {
		case *pb.PutRequest_Ttl:
			ttl := given.Ttl.AsDuration()
			operation.expiry.ttl = &ttl
		case *pb.PutRequest_ExpireTime:
			at := given.ExpireTime.AsTime()
			operation.expiry.at = &at
		case *pb.PutRequest_KeepExpiry:
			operation.expiry.keep = true
		}
	}
	return nil
}

// run runs a transaction's function, and then takes no more reads and writes, also where it panics.
func (t *try) run(ctx context.Context, function func(context.Context, *Transaction) error, in scope) error {
	defer t.finish()
	return function(ctx, &Transaction{t, in})
}

// finish takes no more reads and writes: nothing changes from then on.
func (t *try) finish() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
}

// end returns all reads and writes as one message. It fails where a read or a write did, or what was read contradicts a
// condition of the caller's own.
func (t *try) end() (*pb.TransactRequest, *Error) {
	if t.failed != nil {
		return nil, t.failed
	}
	return t.message()
}

// commit has all of it applied, if everything that was read still holds.
func (t *try) commit(ctx context.Context, message *pb.TransactRequest) *Error {
	if len(message.Puts)+len(message.Deletes)+len(message.Updates) > 0 {
		message.Request = t.connection.nextRequest()
		_, failure := call(ctx, t.connection, t.connection.state.Transact, message, message.Request)
		return failure
	}
	if len(message.Checks) > 1 || len(t.writes.names) > 0 { // one record that was only read was read as of one moment
		return t.verify(ctx, message.Checks)
	}
	return nil
}

// message is all that there was as one. It fails where what was read contradicts a condition of the caller's own (X3).
func (t *try) message() (*pb.TransactRequest, *Error) {
	message := &pb.TransactRequest{}
	demands := map[RecordName]*pb.Precondition{}
	for _, name := range t.reads.names {
		found := t.reads.values[name]
		demand := &pb.Precondition{Condition: &pb.Precondition_Absent{Absent: true}}
		if found != nil {
			demand = &pb.Precondition{Condition: &pb.Precondition_Etag{Etag: found.GetEtag()}}
		}
		pending, written := t.writes.get(name)
		if !written {
			message.Checks = append(message.Checks, &pb.Check{Name: name.message(), Precondition: demand})
			continue
		}
		if failure := mustHold(name, pending.GetPrecondition(), found); failure != nil {
			return nil, failure
		}
		demands[name] = demand
	}
	for _, name := range t.writes.names {
		pending := t.writes.values[name]
		demand, read := demands[name]
		if !read {
			demand = pending.GetPrecondition()
		}
		switch pending := pending.(type) {
		case *pb.PutRequest:
			pending.Precondition = demand
			message.Puts = append(message.Puts, pending)
		case *pb.UpdateRequest:
			pending.Precondition = demand
			message.Updates = append(message.Updates, pending)
		case *pb.DeleteRequest:
			pending.Precondition = demand
			if demand.GetAbsent() { // nothing to do, if that holds
				message.Checks = append(message.Checks, &pb.Check{Name: pending.Name, Precondition: demand})
			} else {
				message.Deletes = append(message.Deletes, pending)
			}
		}
	}
	return message, nil
}

// verify sees that all checks hold at one moment.
func (t *try) verify(ctx context.Context, checks []*pb.Check) *Error {
	names := make([]*pb.RecordName, len(checks))
	for index, check := range checks {
		names[index] = check.Name
	}
	items, failure := t.connection.snapshot(ctx, names)
	if failure != nil {
		return failure
	}
	for index, check := range checks {
		if failure := mustHold(nameOf(check.Name), check.Precondition, items[index].GetRecord()); failure != nil {
			return failure
		}
	}
	return nil
}

// isOvertaken tells whether a commit failed so because what was read holds no more, not for a condition of the caller's own.
func (t *try) isOvertaken(failure *Error) bool {
	switch failure.Kind {
	case ErrTransactionConflict:
		return true
	case ErrConflict, ErrAlreadyExists, ErrNotFound:
	default:
		return false
	}
	if failure.Record == nil {
		return false
	}
	name := *failure.Record
	_, read := t.reads.get(name)
	if _, written := t.writes.get(name); !read && !written {
		name.Store = "" // the service fills in its default store
		_, read = t.reads.get(name)
	}
	return read
}

// mustHold says of a condition what the service would say.
func mustHold(name RecordName, demand *pb.Precondition, found *pb.Record) *Error {
	switch demand := demand.GetCondition().(type) {
	case *pb.Precondition_Absent:
		if found != nil {
			return &Error{
				Kind: ErrAlreadyExists, Code: codes.AlreadyExists, Message: "the record exists", Record: &name, Etag: found.GetEtag(),
			}
		}
	case *pb.Precondition_Exists:
		if found == nil {
			return &Error{Kind: ErrNotFound, Code: codes.NotFound, Message: "there is no such record", Record: &name}
		}
	case *pb.Precondition_Etag:
		if found == nil || found.GetEtag() != demand.Etag {
			message := "the record has another etag"
			if found == nil {
				message = "the record is gone"
			}
			return &Error{
				Kind: ErrConflict, Code: codes.Aborted, Message: message, Record: &name, Etag: found.GetEtag(),
			}
		}
	}
	return nil
}
