package keepstate

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	pb "github.com/keepstate/keepstate/client/go/keepstatev1"
)

func TestAnAttemptTakesTwoThirdsOfTheTimeThatIsLeft(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		pausesAre(t, 0)
		must[string](t)(client.Put(t.Context(), "first", nil))
		service.script("Put", silent, silent, silent)
		ctx, cancel := context.WithTimeout(t.Context(), 8400*time.Millisecond)
		defer cancel()
		_, err := client.Put(ctx, "k", nil)
		mustBe(t, err, ErrOutcomeUnknown)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v does not tell that the context's time was up", err)
		}
		seen := service.seen("Put")[1:]
		equal(t, "attempts", len(seen), 2)
		equal(t, "time for the first", seen[0].left.Round(time.Millisecond), 5600*time.Millisecond)
		equal(t, "time for the second, which leaves no other", seen[1].left.Round(time.Millisecond), 2800*time.Millisecond)
	})
}

func TestAReadWhoseTimeWasUpIsNotRepeatedWithLessThanASecond(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		pausesAre(t, 1)
		service.script("Get", silent)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err := client.Get(ctx, "k")
		mustBe(t, err, ErrDeadlineExceeded)
		equal(t, "attempts", len(service.seen("Get")), 1)
	})
}

func TestACallTakesTenSecondsUnlessItsContextOrTheClientSaysOtherwise(t *testing.T) {
	for _, each := range []struct {
		options []Option
		context time.Duration
		takes   time.Duration
	}{
		{nil, 0, 10 * time.Second},
		{[]Option{WithTimeout(time.Minute)}, 0, time.Minute},
		{nil, 20 * time.Second, 20 * time.Second},
		{[]Option{WithTimeout(time.Minute)}, 2 * time.Second, 2 * time.Second},
	} {
		inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
			service.script("Put", silent, silent, silent, silent, silent, silent, silent, silent)
			ctx := t.Context()
			if each.context > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, each.context)
				defer cancel()
			}
			began := time.Now()
			_, err := client.Put(ctx, "k", nil)
			mustBe(t, err, ErrOutcomeUnknown)
			if took := time.Since(began); took > each.takes || took < each.takes-time.Second {
				t.Errorf("it took %v, expected %v", took, each.takes)
			}
		}, each.options...)
	}
}

func TestCancellingEndsTheCallAtOnceAndTellsTheService(t *testing.T) {
	for _, each := range []struct {
		method string
		call   func(*Client, context.Context) error
		kind   Kind
	}{
		{"Get", func(c *Client, ctx context.Context) error { _, err := c.Get(ctx, "k"); return err }, ErrCancelled},
		{"Put", func(c *Client, ctx context.Context) error { _, err := c.Put(ctx, "k", nil); return err }, ErrOutcomeUnknown},
	} {
		inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
			service.script(each.method, silent)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			began := time.Now()
			go func() { ended <- each.call(client, ctx) }()
			synctest.Wait()
			cancel()
			err := <-ended
			mustBe(t, err, each.kind)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%v is no context.Canceled", err)
			}
			<-service.seen(each.method)[0].ended
			equal(t, "took", time.Since(began), 0)
			equal(t, "attempts", len(service.seen(each.method)), 1)
		})
	}
}

func TestCancellingEndsAPauseAtOnce(t *testing.T) {
	for _, each := range []struct {
		code   codes.Code
		reason string
		kind   Kind
	}{{codes.Unavailable, "STORE_UNAVAILABLE", ErrCancelled}, {codes.Unknown, "OUTCOME_UNKNOWN", ErrOutcomeUnknown}} {
		inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
			pausesAre(t, 1)
			failed := failing(refusal(each.code, each.reason, nil))
			service.script("Put", failed)
			service.script("Batch", failed)
			for _, call := range []func(context.Context) error{
				func(ctx context.Context) error { _, err := client.Put(ctx, "k", nil); return err },
				func(ctx context.Context) error { _, err := client.Batch(ctx, Put("k", nil)); return err },
			} {
				ctx, cancel := context.WithCancel(t.Context())
				began, ended := time.Now(), make(chan error)
				go func() { ended <- call(ctx) }()
				synctest.Wait()
				cancel()
				err := <-ended
				mustBe(t, err, each.kind)
				if !errors.Is(err, context.Canceled) {
					t.Errorf("%v is no context.Canceled", err)
				}
				equal(t, "took", time.Since(began), 0)
			}
			equal(t, "puts", len(service.seen("Put")), 1)
			equal(t, "batches", len(service.seen("Batch")), 1)
		})
	}
}

func TestWhatTheServiceHasJudgedIsToldThoughTheContextIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	mustBe(t, (&Error{Kind: ErrConflict}).orCancelled(ctx), ErrConflict)
}

func TestWhatTheServiceSaidIsNotTheWorkOfAContextThatEndsThen(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		ctx, cancel := context.WithCancel(t.Context())
		judged := func(_ context.Context, _ *pb.GetRequest, options ...grpc.CallOption) (*pb.GetResponse, error) {
			cancel()
			said := refusal(codes.Aborted, "ETAG_MISMATCH", nil)
			*options[0].(grpc.TrailerCallOption).TrailerAddr = packed(t, said)
			return nil, said
		}
		for _, writes := range []bool{false, true} {
			_, failure := send(ctx, client.connection, judged, &pb.GetRequest{}, time.Second, writes)
			equal(t, "cancelled", errors.Is(mustBe(t, failure, ErrConflict), context.Canceled), false)
		}
	})
}

func TestAContextThatIsOverSendsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := client.Put(ctx, "k", nil)
		equal(t, "nothing sent", mustBe(t, err, ErrCancelled).NothingSent, true)
		equal(t, "puts", len(service.seen("Put")), 0)
	})
}

func TestCloseCutsCallsShortAndThenNothingIsSent(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.script("Put", silent)
		ended := make(chan error)
		go func() {
			_, err := client.Put(t.Context(), "k", nil)
			ended <- err
		}()
		synctest.Wait()
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
		mustBe(t, <-ended, ErrOutcomeUnknown)
		_, err := client.Put(t.Context(), "k", nil)
		equal(t, "nothing sent", mustBe(t, err, ErrCancelled).NothingSent, true)
	})
}

func TestAPauseEndsWhenTheClientIsClosed(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.script("Get", failing(refusal(codes.Unavailable, "STORE_UNAVAILABLE", nil, comeAgain(5*time.Second))))
		began, ended := time.Now(), make(chan error)
		go func() {
			_, err := client.Get(t.Context(), "k")
			ended <- err
		}()
		synctest.Wait()
		_ = client.Close()
		mustBe(t, <-ended, ErrUnavailable)
		equal(t, "took", time.Since(began), 0)
	})
}
