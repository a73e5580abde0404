package main

import (
	"errors"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	keepstate "github.com/keepstate/keepstate/client/go"
)

type fields = map[string]any

var typeNames = map[keepstate.Kind]string{
	keepstate.ErrNotFound:            "NotFound",
	keepstate.ErrAlreadyExists:       "AlreadyExists",
	keepstate.ErrConflict:            "Conflict",
	keepstate.ErrTransactionConflict: "TransactionConflict",
	keepstate.ErrInvalidArgument:     "InvalidArgument",
	keepstate.ErrStoreNotFound:       "StoreNotFound",
	keepstate.ErrFailedPrecondition:  "FailedPrecondition",
	keepstate.ErrUnsupportedByStore:  "UnsupportedByStore",
	keepstate.ErrUpdateNotApplicable: "UpdateNotApplicable",
	keepstate.ErrUnavailable:         "Unavailable",
	keepstate.ErrOutcomeUnknown:      "OutcomeUnknown",
	keepstate.ErrDeadlineExceeded:    "DeadlineExceeded",
	keepstate.ErrResourceExhausted:   "ResourceExhausted",
	keepstate.ErrUnimplemented:       "Unimplemented",
	keepstate.ErrUnauthenticated:     "Unauthenticated",
	keepstate.ErrPermissionDenied:    "PermissionDenied",
	keepstate.ErrInternal:            "Internal",
	keepstate.ErrCancelled:           "Cancelled",
	keepstate.ErrUsage:               "Usage",
}

// codeNames are those of the codes as the gRPC specification writes them.
var codeNames = strings.Fields(`OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS
	PERMISSION_DENIED RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE
	DATA_LOSS UNAUTHENTICATED`)

func answerOfError(err error) fields {
	var failure *keepstate.Error
	switch {
	case errors.Is(err, errRaised):
		return fields{"type": "Raised", "message": err.Error()}
	case errors.As(err, &failure):
	case errors.Is(err, keepstate.ErrUsage):
		return fields{"type": "Usage", "message": err.Error()}
	default:
		return fields{"type": "Unexpected", "message": err.Error()}
	}
	answer := fields{
		"type": typeNames[failure.Kind], "reason": failure.Reason, "message": failure.Message,
		"correlation_id": failure.CorrelationID, "nothing_sent": failure.NothingSent, "for_good": failure.ForGood,
		"limit": failure.Limit, "capability": failure.Capability, "etag": textOrNull(failure.Etag),
	}
	if failure.Code != codes.OK {
		answer["code"] = codeNames[failure.Code]
	}
	if name := failure.Record; name != nil {
		answer["record"] = fields{"store": name.Store, "namespace": name.Namespace, "key": name.Key}
	}
	if failure.RetryAfter != nil {
		answer["retry_after_ms"] = float64(*failure.RetryAfter) / float64(time.Millisecond)
	}
	if len(failure.Violations) > 0 {
		answer["violations"] = answersOf(failure.Violations, func(violation keepstate.FieldViolation) fields {
			return fields{"field": violation.Field, "description": violation.Description}
		})
	}
	return answer
}

func textOrNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func answerOfTime(at time.Time) any {
	if at.IsZero() {
		return nil
	}
	return at.UTC().Format(time.RFC3339Nano)
}

func answerOfRecord(record *keepstate.Record) fields {
	if record == nil {
		return nil
	}
	value := record.Value
	if value == nil {
		value = []byte{} // nil would be written as null
	}
	return fields{
		"store": record.Name.Store, "namespace": record.Name.Namespace, "key": record.Name.Key,
		"value": value, "content_type": record.ContentType, "etag": textOrNull(record.Etag),
		"create_time": answerOfTime(record.CreateTime), "update_time": answerOfTime(record.UpdateTime),
		"expire_time": answerOfTime(record.ExpireTime),
	}
}

// foundOrMissing is the answer to a get: a missing record is one.
func foundOrMissing(record *keepstate.Record, err error) (fields, error) {
	var failure *keepstate.Error
	if errors.As(err, &failure) && failure.Kind == keepstate.ErrNotFound && failure.Reason == "RECORD_NOT_FOUND" {
		return fields{"record": nil}, nil
	}
	return fields{"record": answerOfRecord(record)}, err
}

func answerOfUpdate(record *keepstate.Record, repeated bool) fields {
	return fields{"record": answerOfRecord(record), "repeated": repeated}
}

// answerOfResult is the answer to one operation of a batch or a transaction.
func answerOfResult(do string, result keepstate.Result) (fields, error) {
	switch do {
	case "get":
		return foundOrMissing(result.Record, result.Err)
	case "put":
		return fields{"etag": result.Etag}, result.Err
	case "delete":
		return fields{"existed": result.Existed}, result.Err
	case "touch":
		return fields{"etag": result.Etag, "expire_time": answerOfTime(result.ExpireTime)}, result.Err
	}
	return answerOfUpdate(result.Record, result.Repeated), result.Err
}

func answerOfStore(info keepstate.StoreInfo) fields {
	return fields{
		"name": info.Name, "component_type": info.ComponentType, "is_default": info.IsDefault,
		"durability": info.Durability,
		"promises": answersOf(info.Promises, func(promise keepstate.Promise) fields {
			return fields{
				"number": promise.Number, "title": promise.Title, "keeping": promise.Keeping.String(), "reason": promise.Reason,
			}
		}),
	}
}

func answersOf[T any](things []T, answer func(T) fields) []fields {
	answers := make([]fields, len(things))
	for index, thing := range things {
		answers[index] = answer(thing)
	}
	return answers
}
