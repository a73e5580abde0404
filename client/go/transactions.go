package keepstate

import (
	"bytes"
	"context"
	"fmt"

	pb "github.com/keepstate/keepstate/client/go/keepstatev1"
)

const defaultTries = 10

// Transact performs all of its writes or none, if all of their conditions and all checks hold at one moment: puts, deletes,
// updates and checks of at most 100 records, of any stores, none of them named twice. Each operation has its result, in the
// order given; that of a check is empty.
//
// It fails with ErrConflict, ErrAlreadyExists or ErrNotFound where a condition does not hold, and the error names the record;
// with ErrUpdateNotApplicable where an update does not fit the value that it met; with ErrTransactionConflict where writes of
// others came between again and again.
func (s *State) Transact(ctx context.Context, operations ...Operation) ([]Result, error) {
	message := &pb.TransactRequest{Request: s.connection.nextRequest()}
	for index := range operations {
		operation := &operations[index]
		if err := s.scope.sendable(operation); err != nil {
			return nil, fmt.Errorf("operations[%d]: %w", index, err)
		}
		switch {
		case operation.kind == kindCheck:
			message.Checks = append(message.Checks, operation.checkMessage(s.scope))
		case operation.kind == kindPut:
			message.Puts = append(message.Puts, operation.putMessage(s.scope, nil))
		case operation.kind == kindDelete:
			message.Deletes = append(message.Deletes, operation.deleteMessage(s.scope, nil))
		case operation.kind&kindUpdates != 0:
			message.Updates = append(message.Updates, operation.updateMessage(s.scope, nil))
		default:
			return nil, usage("operations[%d]: %s cannot be in a transaction", index, kindNames[operation.kind])
		}
	}
	answer, failure := call(ctx, s.connection, s.connection.state.Transact, message, message.Request)
	if failure != nil {
		return nil, failure
	}
	return transactResults(operations, message, answer)
}

// transactResults puts the answers into the order of the operations.
func transactResults(operations []Operation, asked *pb.TransactRequest, answer *pb.TransactResponse) ([]Result, error) {
	puts, deletes, updates := answer.GetPuts(), answer.GetDeletes(), answer.GetUpdates()
	if len(puts) != len(asked.Puts) || len(deletes) != len(asked.Deletes) || len(updates) != len(asked.Updates) {
		return nil, misfit(true, "the service gave more or fewer results than there are writes")
	}
	results := make([]Result, len(operations))
	for index := range operations {
		switch operations[index].kind {
		case kindCheck:
		case kindPut:
			results[index], puts = putResult(puts[0]), puts[1:]
		case kindDelete:
			results[index], deletes = deleteResult(deletes[0]), deletes[1:]
		default:
			results[index], updates = updateResult(updates[0]), updates[1:]
		}
	}
	return results, nil
}

// Snapshot reads up to 100 records, each by a [Get], as they were at one moment. The results are in the order given; nil:
// there is no record.
func (s *State) Snapshot(ctx context.Context, gets ...Operation) ([]*Record, error) {
	names := make([]*pb.RecordName, len(gets))
	for index := range gets {
		get := &gets[index]
		if err := s.scope.sendable(get); err != nil {
			return nil, fmt.Errorf("gets[%d]: %w", index, err)
		}
		if get.kind != kindGet || get.slide != nil || get.consistency != pb.Consistency_CONSISTENCY_UNSPECIFIED {
			return nil, usage("gets[%d]: a snapshot is made of gets without SlideTTL, Strong and Eventual", index)
		}
		names[index] = get.name(s.scope).message()
	}
	items, failure := s.connection.snapshot(ctx, names)
	if failure != nil {
		return nil, failure
	}
	records := make([]*Record, len(items))
	for index, item := range items {
		records[index] = recordOf(item.GetRecord())
	}
	return records, nil
}

// snapshot has as many answers as names.
func (c *connection) snapshot(ctx context.Context, names []*pb.RecordName) ([]*pb.SnapshotItem, *Error) {
	answer, failure := call(ctx, c, c.state.Snapshot, &pb.SnapshotRequest{Names: names}, nil)
	if failure != nil {
		return nil, failure
	}
	if items := answer.GetItems(); len(items) == len(names) {
		return items, nil
	}
	return nil, misfit(false, fmt.Sprintf("the service gave %d records for %d names", len(answer.GetItems()), len(names)))
}

// TransactionOption is a setting of a [State.Transaction].
type TransactionOption func(*transactionSettings) error

type transactionSettings struct{ tries int }

// Tries says how often a transaction's function may run. Default: 10.
func Tries(tries int) TransactionOption {
	return func(set *transactionSettings) error {
		if tries < 1 {
			return usage("tries: it must be at least 1, not %d", tries)
		}
		set.tries = tries
		return nil
	}
}

// Transaction runs a function and applies what it writes, all or nothing, if all that it read still holds: strictly
// serialisable, at most 100 records, of any stores, read or written.
//
// Where others came between, the function runs again from the start, after a pause: so it must do nothing else that counts.
// What it returns passes through, and nothing is applied. The context that it is given has the deadline of the whole: ctx's,
// else the client's timeout.
//
// It fails with ErrConflict or ErrAlreadyExists where others came between in the last try too; with ErrConflict,
// ErrAlreadyExists or ErrNotFound where a condition of the function's own does not hold. The error names the record.
func (s *State) Transaction(
	ctx context.Context, function func(ctx context.Context, tx *Transaction) error, options ...TransactionOption,
) error {
	set := transactionSettings{tries: defaultTries}
	for _, option := range options {
		if err := option(&set); err != nil {
			return err
		}
	}
	c := s.connection
	ctx, cancel := c.within(ctx)
	defer cancel()
	all, failure := c.begin(ctx)
	if failure != nil {
		return failure
	}
	retry := defaultRetry
	if c.retry != nil {
		retry = *c.retry
	}
	for made := 1; ; made++ {
		this := newTry(c, all.deadline)
		if err := this.run(ctx, function, s.scope); err != nil {
			return err
		}
		message, failure := this.end()
		if failure != nil {
			return failure
		}
		if failure = this.commit(ctx, message); failure == nil {
			return nil
		}
		if made == set.tries || !this.isOvertaken(failure) {
			return failure
		}
		if !c.pause(ctx, all, retry.pause(made-1)) {
			if ctx.Err() == context.Canceled {
				return c.ended(ctx)
			}
			return failure
		}
	}
}

// Transaction is one try of a transaction, as a view of one namespace in one store. [State.Transaction] makes it.
//
// Reads go to the service, each record once, and are remembered. Writes wait for the end. A read of a record that was put or
// deleted shows what was written, as a record without etag and times; a record that is updated cannot be read any more. A
// record that was put or deleted may be put or deleted once more, then without a condition. All else that would write a
// record twice is an ErrUsage.
//
// A read or a write that fails, but for a missing record, fails the transaction even where the function goes on: what it
// would have written could rest on what it does not know. Many goroutines may use it until the function returns.
type Transaction struct {
	try   *try
	scope scope
}

// Namespace is the same transaction and store with another namespace. Empty: the default namespace.
func (t *Transaction) Namespace(name string) *Transaction {
	return &Transaction{t.try, scope{store: t.scope.store, namespace: name}}
}

// Store is the same transaction and namespace in another store. Empty: the service's default store.
func (t *Transaction) Store(name string) *Transaction {
	return &Transaction{t.try, scope{store: name, namespace: t.scope.namespace}}
}

// Get reads a record. Where there is none it fails with ErrNotFound. A record that the transaction has put has no etag yet.
//
// Options: SlideTTL, Strong, Eventual, InNamespace, InStore.
func (t *Transaction) Get(ctx context.Context, key string, options ...OpOption) (*Record, error) {
	operation := Get(key, options...)
	if err := t.scope.sendable(&operation); err != nil {
		return nil, err
	}
	found, failure := t.try.read(ctx, operation.name(t.scope), operation.getMessage(t.scope))
	if failure != nil {
		t.try.fail(failure)
		return nil, failure
	}
	record := recordOf(found)
	record.Value = bytes.Clone(record.Value) // the caller's own, since it may be read again
	return record, nil
}

// Put has a value stored, as it is now. The options are those of [State.Put].
func (t *Transaction) Put(key string, value []byte, options ...OpOption) error {
	return t.write(Put(key, bytes.Clone(value), options...)) // it is sent later: the caller may use its slice for others
}

// PutJSON has stored what json.Marshal makes of a value. The options are those of [State.Put].
func (t *Transaction) PutJSON(key string, value any, options ...OpOption) error {
	return t.write(PutJSON(key, value, options...))
}

// Delete has a record deleted, if there is one. The options are those of [State.Delete].
func (t *Transaction) Delete(key string, options ...OpOption) error {
	return t.write(Delete(key, options...))
}

// Increment has delta added to a number. The options are those of [State.Increment].
func (t *Transaction) Increment(key string, delta int64, options ...OpOption) error {
	return t.write(Increment(key, delta, options...))
}

// Append has items added to a JSON list. The options are those of [State.Append].
func (t *Transaction) Append(key string, items []any, options ...OpOption) error {
	return t.write(Append(key, items, options...))
}

// MergePatch has a patch merged into a JSON value. The options are those of [State.MergePatch].
func (t *Transaction) MergePatch(key string, patch any, options ...OpOption) error {
	return t.write(MergePatch(key, patch, options...))
}

func (t *Transaction) write(operation Operation) error {
	return asError(t.try.write(&operation, t.scope))
}
