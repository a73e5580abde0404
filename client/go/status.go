package keepstate

import (
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "github.com/keepstate/keepstate/client/go/keepstatev1"
)

const (
	errorDomain = "keepstate"
	detailsKey  = "grpc-status-details-bin"
)

var kindOfReason = map[pb.ErrorReason]Kind{
	pb.ErrorReason_ERROR_REASON_RECORD_NOT_FOUND:      ErrNotFound,
	pb.ErrorReason_ERROR_REASON_RECORD_ALREADY_EXISTS: ErrAlreadyExists,
	pb.ErrorReason_ERROR_REASON_ETAG_MISMATCH:         ErrConflict,
	pb.ErrorReason_ERROR_REASON_INVALID_FIELDS:        ErrInvalidArgument,
	pb.ErrorReason_ERROR_REASON_STORE_NOT_FOUND:       ErrStoreNotFound,
	pb.ErrorReason_ERROR_REASON_UNSUPPORTED_BY_STORE:  ErrUnsupportedByStore,
	pb.ErrorReason_ERROR_REASON_STORE_UNAVAILABLE:     ErrUnavailable,
	pb.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN:       ErrOutcomeUnknown,
	pb.ErrorReason_ERROR_REASON_DEADLINE_EXCEEDED:     ErrDeadlineExceeded,
	pb.ErrorReason_ERROR_REASON_OVERLOADED:            ErrResourceExhausted,
	pb.ErrorReason_ERROR_REASON_NOT_IMPLEMENTED:       ErrUnimplemented,
	pb.ErrorReason_ERROR_REASON_TRANSACTION_CONFLICT:  ErrTransactionConflict,
	pb.ErrorReason_ERROR_REASON_UNAUTHENTICATED:       ErrUnauthenticated,
	pb.ErrorReason_ERROR_REASON_PERMISSION_DENIED:     ErrPermissionDenied,
	pb.ErrorReason_ERROR_REASON_INTERNAL:              ErrInternal,
	pb.ErrorReason_ERROR_REASON_UPDATE_NOT_APPLICABLE: ErrUpdateNotApplicable,
}

// For failures without a reason that this version knows: gRPC's own, a proxy's, or a newer service's.
var kindOfCode = map[codes.Code]Kind{
	codes.OK:                 ErrInternal, // a failure that says it is none
	codes.Canceled:           ErrCancelled,
	codes.Unknown:            ErrInternal,
	codes.InvalidArgument:    ErrInvalidArgument,
	codes.DeadlineExceeded:   ErrDeadlineExceeded,
	codes.NotFound:           ErrNotFound,
	codes.AlreadyExists:      ErrAlreadyExists,
	codes.PermissionDenied:   ErrPermissionDenied,
	codes.ResourceExhausted:  ErrResourceExhausted,
	codes.FailedPrecondition: ErrFailedPrecondition,
	codes.Aborted:            ErrConflict,
	codes.OutOfRange:         ErrInvalidArgument,
	codes.Unimplemented:      ErrUnimplemented,
	codes.Internal:           ErrInternal,
	codes.Unavailable:        ErrUnavailable,
	codes.DataLoss:           ErrInternal,
	codes.Unauthenticated:    ErrUnauthenticated,
}

// Codes that, without a reason of the service, may stand for a lost answer: a write that fails so may have been applied.
var mayHideSuccess = map[codes.Code]bool{
	codes.OK:                true,
	codes.Canceled:          true,
	codes.Unknown:           true,
	codes.DeadlineExceeded:  true,
	codes.ResourceExhausted: true,
	codes.Internal:          true,
	codes.Unavailable:       true,
	codes.DataLoss:          true,
}

// What the service's gRPC library says of a request that it threw away unread. It has no code of its own for that. Should
// the words change, such a write counts as unknown, which is never wrong.
var neverTaken = []string{"SERVER: Received message larger than max", "Concurrent RPC limit exceeded"}

// errorOfCall makes the typed error of a failed call. arrived: the request may have reached the service.
func errorOfCall(err error, trailer metadata.MD, writes, arrived bool) *Error {
	seen := status.Convert(err)
	details := &statuspb.Status{}
	if packed := trailer.Get(detailsKey); len(packed) > 0 {
		// Not those that gRPC took out: it drops them where a proxy changed the code.
		if proto.Unmarshal([]byte(packed[0]), details) != nil {
			details = &statuspb.Status{}
		}
	}
	return newError(seen.Code(), seen.Message(), details, writes, arrived)
}

// errorOfStatus makes the typed error of one failed operation of a batch.
func errorOfStatus(failed *statuspb.Status, writes bool) *Error {
	return newError(codes.Code(uint32(failed.GetCode())), failed.GetMessage(), failed, writes, true)
}

func newError(code codes.Code, message string, details *statuspb.Status, writes, arrived bool) *Error {
	if _, known := kindOfCode[code]; !known {
		code = codes.Unknown
	}
	failure := &Error{Code: code, Message: message, NothingSent: !arrived}
	for _, words := range neverTaken {
		failure.NothingSent = failure.NothingSent || strings.HasPrefix(message, words)
	}
	var facts map[string]string
	for _, packed := range details.GetDetails() {
		detail, err := packed.UnmarshalNew()
		if err != nil {
			continue
		}
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.GetDomain() == errorDomain {
				failure.Reason, facts = detail.GetReason(), detail.GetMetadata()
			}
		case *errdetails.BadRequest:
			for _, each := range detail.GetFieldViolations() {
				violation := FieldViolation{Field: each.GetField(), Description: each.GetDescription()}
				failure.Violations = append(failure.Violations, violation)
			}
		case *errdetails.RetryInfo:
			after := detail.GetRetryDelay().AsDuration()
			failure.RetryAfter = &after
		}
	}
	failure.NothingSent = failure.NothingSent || facts["nothing_sent"] == "true"
	failure.Kind = kindOf(failure, writes)
	failure.take(facts)
	return failure
}

func kindOf(failure *Error, writes bool) Kind {
	if kind, known := kindOfReason[pb.ErrorReason(pb.ErrorReason_value["ERROR_REASON_"+failure.Reason])]; known {
		return kind
	}
	if writes && mayHideSuccess[failure.Code] && !failure.NothingSent {
		return ErrOutcomeUnknown
	}
	return kindOfCode[failure.Code]
}

// take fills in what errors of this kind carry of their own.
func (e *Error) take(facts map[string]string) {
	e.CorrelationID = facts["correlation_id"]
	switch e.Kind {
	case ErrNotFound, ErrAlreadyExists, ErrConflict, ErrTransactionConflict, ErrUpdateNotApplicable:
		if key := facts["key"]; key != "" {
			e.Record = &RecordName{Store: facts["store"], Namespace: facts["namespace"], Key: key}
		}
		if e.Kind != ErrNotFound && e.Kind != ErrUpdateNotApplicable {
			e.Etag = facts["etag"]
		}
	case ErrUnsupportedByStore:
		e.Capability = facts["capability"]
	case ErrOutcomeUnknown:
		e.ForGood = facts["for_good"] == "true"
	case ErrResourceExhausted:
		e.Limit = facts["limit"]
	}
	if e.Kind != ErrUnavailable && e.Kind != ErrResourceExhausted {
		e.RetryAfter = nil
	}
}

// asOfRead is what the failure of a whole call means for a read in it, of which no outcome can be unknown.
func asOfRead(failure *Error) *Error {
	if failure.Kind != ErrOutcomeUnknown {
		return failure
	}
	read := *failure
	read.Kind = kindOfCode[failure.Code]
	read.ForGood = false
	return &read
}
