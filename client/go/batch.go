package keepstate

import (
	"context"
	"fmt"

	pb "github.com/keepstate/keepstate/client/go/keepstatev1"
)

// Batch performs up to 1,000 independent operations, not all or nothing; those on one record in the order given. Each has its
// result, in that order, with an error of its own if it failed: of a get also where there is no record.
//
// Batch itself fails only if no operation was answered. What failed for now is sent again within the deadline, but nothing
// that would overtake a later operation on its record.
func (s *State) Batch(ctx context.Context, operations ...Operation) ([]Result, error) {
	items := make([]*batchItem, len(operations))
	parts := make([]*part, len(operations))
	for index := range operations {
		operation := &operations[index]
		if err := s.scope.sendable(operation); err != nil {
			return nil, fmt.Errorf("operations[%d]: %w", index, err)
		}
		if operation.kind == kindCheck {
			return nil, usage("operations[%d]: a check is for transactions", index)
		}
		item := &batchItem{kind: operation.kind, name: operation.name(s.scope)}
		if operation.kind != kindGet {
			item.request = s.connection.nextRequest()
		}
		item.message = operation.batchMessage(s.scope, item.request)
		items[index], parts[index] = item, &item.part
	}
	ctx, cancel := s.connection.within(ctx)
	defer cancel()
	all, failure := s.connection.begin(ctx, parts...)
	if failure != nil {
		return nil, failure
	}
	return s.connection.callBatch(ctx, items, all)
}

// batchItem is one operation of a batch on its way.
type batchItem struct {
	part
	kind    operationKind
	name    RecordName
	message *pb.BatchOperation

	// result is what the caller is told unless there is another attempt.
	result Result
	// failure is how its last attempt failed. Nil: it did not.
	failure *Error
}

func (i *batchItem) writes() bool { return i.request != nil }

// fail takes in how an attempt failed.
func (i *batchItem) fail(failure *Error) {
	if !i.writes() {
		failure = asOfRead(failure)
	}
	i.failure = failure
	i.result = Result{Err: i.tell(failure)}
}

// take takes in an answer.
func (i *batchItem) take(answer *pb.BatchResult) {
	result, fits := Result{}, false
	switch answer := answer.GetResult().(type) {
	case *pb.BatchResult_Error:
		i.fail(errorOfStatus(answer.Error, i.writes()))
		return
	case *pb.BatchResult_Get:
		record := recordOf(answer.Get.GetRecord())
		result, fits = Result{Record: record}, i.kind == kindGet && record != nil
	case *pb.BatchResult_Put:
		result, fits = putResult(answer.Put), i.kind == kindPut
	case *pb.BatchResult_Delete:
		result, fits = deleteResult(answer.Delete), i.kind == kindDelete
	case *pb.BatchResult_Touch:
		result = Result{Etag: answer.Touch.GetEtag(), ExpireTime: timeOf(answer.Touch.GetExpireTime())}
		fits = i.kind == kindTouch
	case *pb.BatchResult_Update:
		result, fits = updateResult(answer.Update), i.kind&kindUpdates != 0
	}
	if !fits {
		i.fail(misfit(i.writes(), "the service answered "+kindNames[i.kind]+" with something else"))
		return
	}
	i.failure, i.result = nil, result
}

// misfit is the failure of a call whose answer does not fit it.
func misfit(writes bool, message string) *Error {
	if writes {
		return &Error{Kind: ErrOutcomeUnknown, Message: message}
	}
	return &Error{Kind: ErrInternal, Message: message}
}

func (c *connection) callBatch(ctx context.Context, items []*batchItem, all *attempts) ([]Result, error) {
	waiting, answered := items, false
	var whole *Error
	for {
		whole = c.attemptBatch(ctx, waiting, all)
		answered = answered || whole == nil
		waiting = toBeRepeated(waiting)
		failures := make([]*Error, len(waiting))
		for index, item := range waiting {
			failures[index] = item.failure
		}
		if len(waiting) == 0 || !c.pauseAfter(ctx, all, failures...) {
			break
		}
		for _, item := range waiting {
			c.renew(&item.part, item.failure)
		}
	}
	results := make([]Result, len(items))
	for index, item := range items {
		results[index] = item.result
	}
	if answered {
		return results, nil
	}
	for _, item := range items {
		if failure, is := item.result.Err.(*Error); is && failure.Kind == ErrOutcomeUnknown {
			return nil, failure.orCancelled(ctx)
		}
	}
	return nil, whole.orCancelled(ctx)
}

// attemptBatch sends these once, and has each take its result. It returns the error with which the call failed as a whole.
func (c *connection) attemptBatch(ctx context.Context, items []*batchItem, all *attempts) *Error {
	message := &pb.BatchRequest{Operations: make([]*pb.BatchOperation, len(items))}
	writes := false
	for index, item := range items {
		message.Operations[index] = item.message
		writes = writes || item.writes()
	}
	answer, failure := send(ctx, c, c.state.Batch, message, all.share(), writes)
	if results := answer.GetResults(); failure == nil && len(results) != len(items) {
		failure = misfit(writes, fmt.Sprintf("the service gave %d results for %d operations", len(results), len(items)))
	}
	for index, item := range items {
		if failure != nil {
			item.fail(failure)
		} else {
			item.take(answer.GetResults()[index])
		}
	}
	return failure
}

// toBeRepeated are those that failed for now, but for what would overtake a later operation on its record that has its answer.
func toBeRepeated(items []*batchItem) []*batchItem {
	type record struct{ namespace, key string } // without the store: the default one has two names
	overtaken := map[record]bool{}
	repeated := make([]bool, len(items))
	for index := len(items) - 1; index >= 0; index-- {
		item := items[index]
		name := record{item.name.Namespace, item.name.Key}
		if item.failure != nil && item.failure.mayBeRepeated() && !overtaken[name] {
			repeated[index] = true
		} else {
			overtaken[name] = true
		}
	}
	var again []*batchItem
	for index, item := range items {
		if repeated[index] {
			again = append(again, item)
		}
	}
	return again
}
