package keepstate

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	pb "github.com/keepstate/keepstate/client/go/keepstatev1"
)

// ofCall is the error of a call that failed so, and may have arrived.
func ofCall(t *testing.T, failed error, writes bool) *Error {
	t.Helper()
	return errorOfCall(failed, packed(t, failed), writes, true)
}

// packed is the trailing metadata that a failure comes with.
func packed(t *testing.T, failed error) metadata.MD {
	t.Helper()
	details, err := proto.Marshal(status.Convert(failed).Proto())
	if err != nil {
		t.Fatal(err)
	}
	return metadata.Pairs(detailsKey, string(details))
}

func TestEveryReasonAndEveryCodeHasItsKind(t *testing.T) {
	for number, name := range pb.ErrorReason_name {
		if _, there := kindOfReason[pb.ErrorReason(number)]; !there && number != 0 {
			t.Errorf("%s has none", name)
		}
	}
	for code := codes.OK; code <= codes.Unauthenticated; code++ {
		if _, there := kindOfCode[code]; !there {
			t.Errorf("%v has none", code)
		}
	}
}

func TestTheReasonDecidesNotTheCode(t *testing.T) {
	equal(t, "kind", ofCall(t, refusal(codes.NotFound, "STORE_NOT_FOUND", nil), false).Kind, ErrStoreNotFound)
}

func TestWithoutAReasonThatIsKnownTheCodeDecides(t *testing.T) {
	for _, failed := range []error{
		refusal(codes.Aborted, "A_NEWER_ONE", nil),
		refusal(codes.Aborted, "UNSPECIFIED", nil),
		status.Error(codes.Aborted, "a proxy's"),
		mustAddDetails(codes.Aborted, &errdetails.ErrorInfo{Domain: "proxy.example", Reason: "OVERLOADED"}),
	} {
		equal(t, failed.Error(), ofCall(t, failed, true).Kind, ErrConflict)
	}
	equal(t, "out of range", ofCall(t, status.Error(codes.OutOfRange, ""), true).Kind, ErrInvalidArgument)
	equal(t, "data loss of a read", ofCall(t, status.Error(codes.DataLoss, ""), false).Kind, ErrInternal)
	equal(t, "a code that there is not", ofCall(t, status.Error(codes.Code(99), ""), false).Kind, ErrInternal)
}

func mustAddDetails(code codes.Code, detail *errdetails.ErrorInfo) error {
	said, err := status.New(code, "it said so").WithDetails(detail)
	if err != nil {
		panic(err)
	}
	return said.Err()
}

func TestAWritesFailureThatMayHideASuccessIsAnUnknownOutcome(t *testing.T) {
	hides := map[codes.Code]bool{
		codes.Canceled: true, codes.Unknown: true, codes.DeadlineExceeded: true, codes.ResourceExhausted: true,
		codes.Internal: true, codes.Unavailable: true, codes.DataLoss: true, codes.Code(99): true,
	}
	for _, code := range append([]codes.Code{codes.Code(99)}, allCodes()...) {
		failed := status.Error(code, "a proxy's")
		equal(t, code.String()+" of a write", ofCall(t, failed, true).Kind == ErrOutcomeUnknown, hides[code])
		equal(t, code.String()+" of a read", ofCall(t, failed, false).Kind == ErrOutcomeUnknown, false)
	}
}

func allCodes() []codes.Code {
	var all []codes.Code
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		all = append(all, code)
	}
	return all
}

func TestEachKindCarriesWhatIsItsOwn(t *testing.T) {
	said := map[string]string{
		"store": "redis", "namespace": "n", "key": "k", "etag": "e", "capability": "transactions", "limit": "calls under way",
		"for_good": "true", "correlation_id": "c1", "nothing_sent": "true",
	}
	name := RecordName{Store: "redis", Namespace: "n", Key: "k"}
	violated := &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
		{Field: "name.key", Description: "must not be empty"},
	}}
	conflict := ofCall(t, refusal(codes.Aborted, "ETAG_MISMATCH", said), true)
	equal(t, "record", *conflict.Record, name)
	equal(t, "etag", conflict.Etag, "e")
	equal(t, "correlation id", conflict.CorrelationID, "c1")
	equal(t, "nothing sent", conflict.NothingSent, true)
	equal(t, "reason", conflict.Reason, "ETAG_MISMATCH")
	equal(t, "code", conflict.Code, codes.Aborted)
	equal(t, "etag of an existing one", ofCall(t, refusal(codes.AlreadyExists, "RECORD_ALREADY_EXISTS", said), true).Etag, "e")
	equal(t, "record of a missing one", *ofCall(t, refusal(codes.NotFound, "RECORD_NOT_FOUND", said), true).Record, name)
	misfit := ofCall(t, refusal(codes.FailedPrecondition, "UPDATE_NOT_APPLICABLE", said), true)
	equal(t, "record of an update", *misfit.Record, name)
	unsupported := ofCall(t, refusal(codes.FailedPrecondition, "UNSUPPORTED_BY_STORE", said), true)
	equal(t, "capability", unsupported.Capability, "transactions")
	equal(t, "for good", ofCall(t, refusal(codes.Unknown, "OUTCOME_UNKNOWN", said), true).ForGood, true)
	full := ofCall(t, refusal(codes.ResourceExhausted, "OVERLOADED", said, comeAgain(time.Second)), true)
	equal(t, "limit", full.Limit, "calls under way")
	equal(t, "retry after", *full.RetryAfter, time.Second)
	wrong := ofCall(t, refusal(codes.InvalidArgument, "INVALID_FIELDS", said, violated), true)
	equal(t, "violation", wrong.Violations[0], FieldViolation{"name.key", "must not be empty"})
	if text := wrong.Error(); !strings.Contains(text, "name.key must not be empty") {
		t.Errorf("%q does not name the field", text)
	}
}

func TestDetailsThatCannotBeParsedAreNone(t *testing.T) {
	broken := metadata.Pairs(detailsKey, "\xff\xff")
	equal(t, "whole", errorOfCall(status.Error(codes.Aborted, "m"), broken, true, true).Kind, ErrConflict)
	info, _ := anypb.New(&errdetails.ErrorInfo{Domain: errorDomain, Reason: "ETAG_MISMATCH"})
	odd := &anypb.Any{TypeUrl: "type.googleapis.com/google.rpc.RetryInfo", Value: []byte("\xff")}
	strange := &anypb.Any{TypeUrl: "type.googleapis.com/nobody.Knows"}
	some := errorOfStatus(&statuspb.Status{Code: int32(codes.Aborted), Details: []*anypb.Any{odd, strange, info}}, true)
	equal(t, "one of several", some.Reason, "ETAG_MISMATCH")
}

func TestAKindIsAlsoWhatItIsASpecialCaseOf(t *testing.T) {
	for kind, parent := range map[Kind]Kind{
		ErrTransactionConflict: ErrConflict, ErrStoreNotFound: ErrInvalidArgument,
		ErrUnsupportedByStore: ErrFailedPrecondition, ErrUpdateNotApplicable: ErrFailedPrecondition,
	} {
		failure := &Error{Kind: kind}
		if !errors.Is(failure, kind) || !errors.Is(failure, parent) || errors.Is(failure, ErrNotFound) {
			t.Errorf("%v", kind)
		}
		if errors.Is(&Error{Kind: parent}, kind) {
			t.Errorf("%v is %v", parent, kind)
		}
	}
	if !errors.Is(&Error{Kind: ErrDeadlineExceeded, Code: codes.DeadlineExceeded}, context.DeadlineExceeded) {
		t.Error("time was up, and it is no context.DeadlineExceeded")
	}
}
