package keepstate

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "github.com/keepstate/keepstate/client/go/keepstatev1"
)

// answering answers a batch with these results: a failure, or nil for a put that succeeded.
func answering(failures ...error) answer {
	return func(context.Context, proto.Message) (proto.Message, error) {
		answer := &pb.BatchResponse{}
		for _, failure := range failures {
			result := &pb.BatchResult{Result: &pb.BatchResult_Put{Put: &pb.PutResponse{Etag: "e"}}}
			if failure != nil {
				result.Result = &pb.BatchResult_Error{Error: status.Convert(failure).Proto()}
			}
			answer.Results = append(answer.Results, result)
		}
		return answer, nil
	}
}

// keysOf are the keys of the puts of a batch with their attempts.
func keysOf(call seenCall) string {
	text := ""
	for _, operation := range call.message.(*pb.BatchRequest).GetOperations() {
		text += fmt.Sprintf("%s%d ", operation.GetPut().GetName().GetKey(), operation.GetPut().GetRequest().GetAttempt())
	}
	return text
}

var (
	errDown     = refusal(codes.Unavailable, "STORE_UNAVAILABLE", nil)
	errConflict = refusal(codes.Aborted, "ETAG_MISMATCH", nil)
	errLost     = refusal(codes.Unknown, "OUTCOME_UNKNOWN", nil)
)

func TestOfABatchWhatFailedForNowIsSentAgainInABatchOfItsOwn(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.script("Batch", answering(nil, errDown, errConflict, errLost), answering(errConflict, nil))
		results := must[[]Result](t)(client.Batch(t.Context(), Put("a", nil), Put("b", nil), Put("c", nil), Put("d", nil)))
		seen := service.seen("Batch")
		equal(t, "first", keysOf(seen[0]), "a0 b0 c0 d0 ")
		equal(t, "second", keysOf(seen[1]), "b1 d1 ")
		equal(t, "a", results[0].Etag, "e")
		mustBe(t, results[1].Err, ErrConflict)
		mustBe(t, results[2].Err, ErrConflict)
		equal(t, "d", results[3].Etag, "e")
	})
}

func TestEachWriteOfABatchHasARequestOfItsOwn(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		must[[]Result](t)(client.Batch(t.Context(), Put("a", nil), Put("b", nil)))
		operations := service.seen("Batch")[0].message.(*pb.BatchRequest).GetOperations()
		one, other := operations[0].GetPut().GetRequest(), operations[1].GetPut().GetRequest()
		if one.GetNumber() == other.GetNumber() || one.GetFirstSent() == nil || other.GetFirstSent() == nil {
			t.Errorf("%v and %v", one, other)
		}
	})
}

func TestNothingIsSentAgainThatWouldOvertakeALaterOperationOnItsRecord(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.script("Batch", answering(errDown, errDown, nil, errDown), answering(nil, nil))
		elsewhere := InNamespace("elsewhere")
		results := must[[]Result](t)(client.Batch(t.Context(), Put("a", nil), Put("a", nil, elsewhere), Put("a", nil), Put("b", nil)))
		equal(t, "sent again", keysOf(service.seen("Batch")[1]), "a1 b1 ")
		mustBe(t, results[0].Err, ErrUnavailable)
		for _, result := range results[1:] {
			equal(t, "error", result.Err, nil)
		}
	})
}

func TestALaterOperationThatAlsoFailedIsSentAgainAfterTheFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.script("Batch", answering(errDown, errDown))
		must[[]Result](t)(client.Batch(t.Context(), Put("a", []byte("1")), Put("a", []byte("2"))))
		equal(t, "sent again", keysOf(service.seen("Batch")[1]), "a1 a1 ")
	})
}

func TestWhereABatchFailsAsAWholeThatIsTheFailureOfEachAndAReadIsNeverInDoubt(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		down := failing(status.Error(codes.Internal, "a proxy's"))
		wrong := failing(refusal(codes.InvalidArgument, "INVALID_FIELDS", nil))
		service.script("Batch", answering(errDown, errDown, nil), down, wrong)
		results := must[[]Result](t)(client.Batch(t.Context(), Put("a", nil), Get("b"), Put("c", nil)))
		mustBe(t, mustBe(t, results[0].Err, ErrOutcomeUnknown).LastFailure, ErrInvalidArgument)
		mustBe(t, results[1].Err, ErrInternal) // not to be repeated, unlike an unknown outcome
		equal(t, "the third", results[2].Err, nil)
		equal(t, "calls", len(service.seen("Batch")), 3)
	})
}

func TestABatchOfWhichNoOperationWasAnsweredFails(t *testing.T) {
	for _, each := range []struct {
		answers []answer
		kind    Kind
	}{
		{[]answer{failing(refusal(codes.InvalidArgument, "INVALID_FIELDS", nil))}, ErrInvalidArgument},
		{[]answer{unknown, failing(refusal(codes.InvalidArgument, "INVALID_FIELDS", nil))}, ErrOutcomeUnknown},
	} {
		inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
			service.script("Batch", each.answers...)
			_, err := client.Batch(t.Context(), Get("b"), Put("a", nil))
			mustBe(t, err, each.kind)
		})
	}
}

func TestAnAnswerThatDoesNotFitItsBatchIsAnUnknownOutcomeOfWritesAndAFaultOfReads(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.script("Batch", answering(nil), answering(nil, nil, nil))
		_, err := client.Batch(t.Context(), Put("a", nil), Put("b", nil))
		mustBe(t, err, ErrOutcomeUnknown)
		_, err = client.Batch(t.Context(), Get("a"), Get("b"))
		mustBe(t, err, ErrInternal)
		service.script("Batch", answering(nil, nil))
		results := must[[]Result](t)(client.Batch(t.Context(), Delete("a"), Get("b")))
		mustBe(t, results[0].Err, ErrOutcomeUnknown)
		mustBe(t, results[1].Err, ErrInternal)
	}, WithoutRetry())
}

func TestEachOperationOfABatchIsAnsweredByItsOwnKind(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.script("Batch", func(context.Context, proto.Message) (proto.Message, error) {
			record := &pb.Record{Name: &pb.RecordName{Key: "k"}, Value: []byte("1"), Etag: "r"}
			return &pb.BatchResponse{Results: []*pb.BatchResult{
				{Result: &pb.BatchResult_Get{Get: &pb.GetResponse{Record: record}}},
				{Result: &pb.BatchResult_Put{Put: &pb.PutResponse{Etag: "p"}}},
				{Result: &pb.BatchResult_Delete{Delete: &pb.DeleteResponse{Existed: true}}},
				{Result: &pb.BatchResult_Touch{Touch: &pb.TouchResponse{Etag: "t"}}},
				{Result: &pb.BatchResult_Update{Update: &pb.UpdateResponse{Record: record, Repeated: true}}},
			}}, nil
		})
		results := must[[]Result](t)(client.Batch(t.Context(),
			Get("k"), Put("k", nil), Delete("k"), Touch("k", Never()), Increment("k", 1)))
		equal(t, "get", string(results[0].Record.Value), "1")
		equal(t, "put", results[1].Etag, "p")
		equal(t, "delete", results[2].Existed, true)
		equal(t, "touch", results[3].Etag, "t")
		equal(t, "update", results[4].Repeated && results[4].Etag == "r", true)
	})
}

func TestAnOperationOfABatchThatCannotBeSentIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := newFakeService(t)
		_, err := service.client().Batch(t.Context(), Put("a", nil), Put("b", nil, IfAbsent(), IfExists()))
		mustBe(t, err, ErrUsage)
		equal(t, "error", err.Error(), "operations[1]: keepstate: usage: IfExists: there is a condition already")
		if !errors.Is(err, ErrUsage) || len(service.seen("Batch")) > 0 {
			t.Error("it was sent")
		}
	})
}

func TestABatchWaitsAsLongAsItsLastOperationIsToWait(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		pausesAre(t, 1)
		asks := refusal(codes.Unavailable, "STORE_UNAVAILABLE", nil, comeAgain(2*time.Second))
		service.script("Batch", answering(errDown, asks, errDown))
		must[[]Result](t)(client.Batch(t.Context(), Put("a", nil), Put("b", nil), Put("c", nil)))
		seen := service.seen("Batch")
		equal(t, "pause", seen[1].at.Sub(seen[0].at), 2050*time.Millisecond)
	})
}

func TestThePauseBeforeABatchIsDrawnOnceNotForEachOperation(t *testing.T) {
	draws, before := 0, drawn
	drawn = func() float64 { draws++; return 1 }
	t.Cleanup(func() { drawn = before })
	all := &attempts{retry: &defaultRetry, deadline: time.Now().Add(time.Minute)}
	down := &Error{Kind: ErrUnavailable}
	if pause, again := all.pauseAfter(down, down, down); !again || pause != 50*time.Millisecond || draws != 1 {
		t.Errorf("a pause of %v after %d draws", pause, draws)
	}
}
