package keepstate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "github.com/keepstate/keepstate/client/go/keepstatev1"
)

func TestARepeatIsTheSameRequestWithItsAttemptCounted(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.script("Put", unavailable, unknown, unavailable)
		equal(t, "etag", must[string](t)(client.Put(t.Context(), "k", []byte("v"))), "e")
		first := service.requests()[0]
		for attempt, request := range service.requests() {
			equal(t, "attempt", int(request.GetAttempt()), attempt)
			request.Attempt = 0
			if !proto.Equal(request, first) {
				t.Errorf("attempt %d is of %v, the first of %v", attempt, request, first)
			}
		}
		equal(t, "attempts", len(service.requests()), 4)
	})
}

func TestWhatWasNotSentToTheStoreIsSentAgainAsANewRequest(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		pausesAre(t, 1)
		service.script("Put", nothingSent)
		must[string](t)(client.Put(t.Context(), "k", nil))
		one, other := service.requests()[0], service.requests()[1]
		equal(t, "client", other.GetClient(), one.GetClient())
		equal(t, "number", other.GetNumber(), one.GetNumber()+1)
		equal(t, "attempt", other.GetAttempt(), 0)
		equal(t, "sent later by", other.GetFirstSent().AsTime().Sub(one.GetFirstSent().AsTime()), 50*time.Millisecond)
	})
}

func TestARequestInDoubtIsNotGivenUpForANewOne(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.script("Put", unknown, nothingSent)
		must[string](t)(client.Put(t.Context(), "k", nil))
		last := service.requests()[2]
		equal(t, "number", last.GetNumber(), service.requests()[0].GetNumber())
		equal(t, "attempt", last.GetAttempt(), 2)
	})
}

func TestARefusedConnectionIsKnownToHaveSentNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		must[string](t)(client.Put(t.Context(), "k", nil))
		service.refuseConnections(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})
		unreached := service.client(WithTimeout(500 * time.Millisecond))
		_, err := unreached.Put(t.Context(), "k", nil)
		equal(t, "nothing sent", mustBe(t, err, ErrUnavailable).NothingSent, true)
		service.refuseConnections(nil)
		time.Sleep(10 * time.Second) // the bubble's: until the connection may be made anew
		must[string](t)(unreached.Put(t.Context(), "k", nil))
		equal(t, "attempt", service.requests()[1].GetAttempt(), 0)
	})
}

func TestAWriteWhoseTimeIsUpWhileItConnectsWasNotSent(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.connecting = func(ctx context.Context) { <-ctx.Done() }
		stuck := service.client(WithTimeout(3 * time.Second))
		stuck.connection.clock.observe(time.Now().Format(time.RFC3339Nano), readClocks(), readClocks())
		_, err := stuck.Put(t.Context(), "k", nil)
		equal(t, "nothing sent", mustBe(t, err, ErrDeadlineExceeded).NothingSent, true)
	})
}

func TestAMessageThatIsTooLargeIsNotSent(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		_, err := client.Put(t.Context(), "k", make([]byte, maxMessageBytes))
		equal(t, "nothing sent", mustBe(t, err, ErrResourceExhausted).NothingSent, true)
		equal(t, "puts", len(service.seen("Put")), 0)
	})
}

func TestAnAnswerThatIsTooLargeLeavesTheOutcomeOfAWriteUnknown(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		large := func(context.Context, proto.Message) (proto.Message, error) {
			return &pb.UpdateResponse{Record: &pb.Record{Value: make([]byte, maxMessageBytes)}}, nil
		}
		service.script("Update", large)
		_, err := client.Increment(t.Context(), "k", 1)
		equal(t, "nothing sent", mustBe(t, err, ErrOutcomeUnknown).NothingSent, false)
	}, WithoutRetry())
}

func TestAWriteThatTheServiceThrewAwayUnreadWasNotSent(t *testing.T) {
	for _, words := range neverTaken {
		inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
			service.script("Put", failing(status.Error(codes.ResourceExhausted, words+" (17 vs. 16)")))
			_, err := client.Put(t.Context(), "k", nil)
			equal(t, "nothing sent", mustBe(t, err, ErrResourceExhausted).NothingSent, true)
		})
	}
}

func TestWhatIsRepeatedAndWhatIsNot(t *testing.T) {
	in := comeAgain(time.Millisecond)
	for name, each := range map[string]struct {
		failure  error
		repeated bool
	}{
		"unavailable":                  {refusal(codes.Unavailable, "STORE_UNAVAILABLE", nil), true},
		"unknown":                      {refusal(codes.Unknown, "OUTCOME_UNKNOWN", nil), true},
		"unknown for good":             {refusal(codes.Unknown, "OUTCOME_UNKNOWN", map[string]string{"for_good": "true"}), false},
		"full, and when to come again": {refusal(codes.ResourceExhausted, "OVERLOADED", nil, in), true},
		"full, without a time":         {refusal(codes.ResourceExhausted, "OVERLOADED", nil), false},
		"no room in the answer": {
			refusal(codes.ResourceExhausted, "OVERLOADED", map[string]string{"limit": "bytes in one answer"}, in), false,
		},
		"time was up":         {refusal(codes.DeadlineExceeded, "DEADLINE_EXCEEDED", nil), true},
		"conflict":            {refusal(codes.Aborted, "ETAG_MISMATCH", nil), false},
		"a conflict of many":  {refusal(codes.Aborted, "TRANSACTION_CONFLICT", nil), false},
		"wrong":               {refusal(codes.InvalidArgument, "INVALID_FIELDS", nil), false},
		"a fault":             {refusal(codes.Internal, "INTERNAL", nil), false},
		"a proxy's fault":     {status.Error(codes.Internal, "oh"), true}, // it may hide that the write was applied
		"a proxy's not found": {status.Error(codes.NotFound, "oh"), false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
				service.script("Put", failing(each.failure))
				_, err := client.Put(t.Context(), "k", nil)
				equal(t, "repeated", len(service.seen("Put")) == 2, each.repeated)
				equal(t, "succeeded", err == nil, each.repeated)
			})
		})
	}
}

func TestWithoutRetryNothingIsRepeated(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.script("Put", unavailable)
		_, err := client.Put(t.Context(), "k", nil)
		mustBe(t, err, ErrUnavailable)
		equal(t, "time for the only attempt", service.seen("Put")[0].left, 10*time.Second)
	}, WithoutRetry())
}

func TestAFailureAfterAnAttemptInDoubtLeavesTheOutcomeUnknown(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.script("Put", unknown, failing(refusal(codes.InvalidArgument, "INVALID_FIELDS", nil)))
		_, err := client.Put(t.Context(), "k", nil)
		failure := mustBe(t, err, ErrOutcomeUnknown)
		mustBe(t, failure.LastFailure, ErrInvalidArgument)
		if errors.Is(err, ErrInvalidArgument) {
			t.Error("it passes for a write that was not applied")
		}
	})
}

func TestWhatTheServiceHasJudgedIsFinalAlsoForEarlierAttempts(t *testing.T) {
	for reason, kind := range map[string]Kind{
		"ETAG_MISMATCH": ErrConflict, "RECORD_ALREADY_EXISTS": ErrAlreadyExists, "RECORD_NOT_FOUND": ErrNotFound,
		"UPDATE_NOT_APPLICABLE": ErrUpdateNotApplicable, "TRANSACTION_CONFLICT": ErrTransactionConflict,
	} {
		inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
			service.script("Put", unknown, failing(refusal(codes.Aborted, reason, nil)))
			_, err := client.Put(t.Context(), "k", nil)
			mustBe(t, err, kind)
		})
	}
}

func TestAProxysConflictAfterAnAttemptInDoubtIsNoJudgement(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.script("Put", unknown, failing(status.Error(codes.Aborted, "a proxy's")))
		_, err := client.Put(t.Context(), "k", nil)
		mustBe(t, err, ErrOutcomeUnknown)
	})
}

func TestAReasonOfALaterVersionIsNoJudgementOnAnAttemptInDoubt(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.script("Put", unknown, failing(refusal(codes.Aborted, "OF_A_LATER_VERSION", nil)))
		_, err := client.Put(t.Context(), "k", nil)
		mustBe(t, err, ErrOutcomeUnknown)
	})
}

func TestPausesGrowToALimitOnTopOfWhatTheServiceAsksFor(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		pausesAre(t, 1)
		asks := failing(refusal(codes.Unavailable, "STORE_UNAVAILABLE", nil, comeAgain(300*time.Millisecond)))
		service.script("Put", unavailable, unavailable, asks, unavailable, unavailable, unavailable, unavailable)
		must[string](t)(client.Put(t.Context(), "k", nil))
		seen := service.seen("Put")
		for after, milliseconds := range []int{50, 100, 500, 400, 800, 1000, 1000} {
			pause := seen[after+1].at.Sub(seen[after].at)
			equal(t, fmt.Sprintf("pause after attempt %d", after), pause, time.Duration(milliseconds)*time.Millisecond)
		}
	})
}

func TestAPauseThatIsNotSaidIsTheUsualOne(t *testing.T) {
	for _, each := range []struct {
		retry  Retry
		pauses []time.Duration
	}{
		{Retry{}, []time.Duration{50 * time.Millisecond, 100 * time.Millisecond}},
		{Retry{Initial: 800 * time.Millisecond}, []time.Duration{800 * time.Millisecond, time.Second}},
		{Retry{Limit: 60 * time.Millisecond}, []time.Duration{50 * time.Millisecond, 60 * time.Millisecond}},
	} {
		inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
			pausesAre(t, 1)
			service.script("Put", unavailable, unavailable)
			must[string](t)(client.Put(t.Context(), "k", nil))
			seen := service.seen("Put")
			for after, pause := range each.pauses {
				equal(t, fmt.Sprintf("%v, pause after attempt %d", each.retry, after), seen[after+1].at.Sub(seen[after].at), pause)
			}
		}, WithRetry(each.retry))
	}
}

func TestPausesAreDrawnFromNothingToTheirMost(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 1000 {
		pause := Retry{Initial: time.Second, Limit: time.Second}.pause(5)
		if pause < 0 || pause > time.Second {
			t.Fatalf("a pause of %v", pause)
		}
		seen[pause.Truncate(250*time.Millisecond)] = true
	}
	if len(seen) < 4 {
		t.Errorf("a thousand pauses fall into %d quarters of a second", len(seen))
	}
}

func TestACallEndsWithWhatIsKnownWhereAPauseDoesNotFitIntoItsTime(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		began := time.Now()
		for _, asked := range []time.Duration{time.Minute, math.MaxInt64} {
			service.script("Put", failing(refusal(codes.Unavailable, "STORE_UNAVAILABLE", nil, comeAgain(asked))))
			_, err := client.Put(t.Context(), "k", nil)
			equal(t, "asked to wait", *mustBe(t, err, ErrUnavailable).RetryAfter, asked)
		}
		equal(t, "waited", time.Since(began), 0)
	})
}
