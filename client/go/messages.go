package keepstate

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/keepstate/keepstate/client/go/keepstatev1"
)

// scope is what a view adds to the keys of its calls.
type scope struct{ store, namespace string }

func (o *Operation) name(in scope) RecordName {
	name := RecordName{Store: in.store, Namespace: in.namespace, Key: o.key}
	if o.store != nil {
		name.Store = *o.store
	}
	if o.namespace != nil {
		name.Namespace = *o.namespace
	}
	return name
}

func (o *Operation) getMessage(in scope) *pb.GetRequest {
	message := &pb.GetRequest{Name: o.name(in).message(), Consistency: o.consistency}
	if o.slide != nil {
		message.SlideTtl = durationpb.New(*o.slide)
	}
	return message
}

func (o *Operation) putMessage(in scope, request *pb.RequestId) *pb.PutRequest {
	message := &pb.PutRequest{
		Name: o.name(in).message(), Value: o.value, ContentType: o.contentType,
		Precondition: o.condition, Request: request, Consistency: o.consistency,
	}
	switch {
	case o.expiry.ttl != nil:
		message.Expiry = &pb.PutRequest_Ttl{Ttl: durationpb.New(*o.expiry.ttl)}
	case o.expiry.at != nil:
		message.Expiry = &pb.PutRequest_ExpireTime{ExpireTime: timestamppb.New(*o.expiry.at)}
	case o.expiry.keep:
		message.Expiry = &pb.PutRequest_KeepExpiry{KeepExpiry: true}
	}
	return message
}

func (o *Operation) deleteMessage(in scope, request *pb.RequestId) *pb.DeleteRequest {
	return &pb.DeleteRequest{
		Name: o.name(in).message(), Precondition: o.condition, Request: request, Consistency: o.consistency,
	}
}

func (o *Operation) touchMessage(in scope, request *pb.RequestId) *pb.TouchRequest {
	message := &pb.TouchRequest{
		Name: o.name(in).message(), Precondition: o.condition, Request: request, Consistency: o.consistency,
	}
	switch {
	case o.expiry.ttl != nil:
		message.Expiry = &pb.TouchRequest_Ttl{Ttl: durationpb.New(*o.expiry.ttl)}
	case o.expiry.at != nil:
		message.Expiry = &pb.TouchRequest_ExpireTime{ExpireTime: timestamppb.New(*o.expiry.at)}
	}
	return message
}

func (o *Operation) updateMessage(in scope, request *pb.RequestId) *pb.UpdateRequest {
	message := &pb.UpdateRequest{
		Name: o.name(in).message(), Precondition: o.condition, Request: request, Consistency: o.consistency,
	}
	switch o.kind {
	case kindIncrement:
		message.Update = &pb.UpdateRequest_Increment{Increment: o.increment}
	case kindAppend:
		message.Update = &pb.UpdateRequest_Append{Append: o.appended}
	case kindMergePatch:
		message.Update = &pb.UpdateRequest_MergePatch{MergePatch: o.patch}
	}
	switch {
	case o.expiry.ttl != nil:
		message.Expiry = &pb.UpdateRequest_Ttl{Ttl: durationpb.New(*o.expiry.ttl)}
	case o.expiry.at != nil:
		message.Expiry = &pb.UpdateRequest_ExpireTime{ExpireTime: timestamppb.New(*o.expiry.at)}
	case o.expiry.keep:
		message.Expiry = &pb.UpdateRequest_KeepExpiry{KeepExpiry: true}
	}
	return message
}

func (o *Operation) checkMessage(in scope) *pb.Check {
	return &pb.Check{Name: o.name(in).message(), Precondition: o.condition}
}

func (o *Operation) batchMessage(in scope, request *pb.RequestId) *pb.BatchOperation {
	message := &pb.BatchOperation{}
	switch o.kind {
	case kindGet:
		message.Operation = &pb.BatchOperation_Get{Get: o.getMessage(in)}
	case kindPut:
		message.Operation = &pb.BatchOperation_Put{Put: o.putMessage(in, request)}
	case kindDelete:
		message.Operation = &pb.BatchOperation_Delete{Delete: o.deleteMessage(in, request)}
	case kindTouch:
		message.Operation = &pb.BatchOperation_Touch{Touch: o.touchMessage(in, request)}
	default:
		message.Operation = &pb.BatchOperation_Update{Update: o.updateMessage(in, request)}
	}
	return message
}

// Result is what became of one operation of a batch or of a transaction. Which fields are filled in depends on the operation.
type Result struct {
	// Err is why the operation failed, an *Error; of a get also that there is no record. Nil: it did not.
	Err error
	// Record is what a get found, or what an update left; nil where a repeated update's record is gone.
	Record *Record
	// Etag is the record's etag after a put, an update or a touch.
	Etag string
	// ExpireTime is when the record expires after a touch. Zero: never.
	ExpireTime time.Time
	// Existed: a delete found a record.
	Existed bool
	// Repeated: an answer was lost, and the repeat found the update applied.
	Repeated bool
}

func putResult(answer *pb.PutResponse) Result { return Result{Etag: answer.GetEtag()} }

func deleteResult(answer *pb.DeleteResponse) Result { return Result{Existed: answer.GetExisted()} }

func updateResult(answer *pb.UpdateResponse) Result {
	record := recordOf(answer.GetRecord())
	return Result{Record: record, Etag: answer.GetRecord().GetEtag(), Repeated: answer.GetRepeated()}
}
