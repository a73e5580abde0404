package keepstate

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/keepstate/keepstate/client/go/keepstatev1"
)

// committed is the only transaction that the service has seen.
func (s *fakeService) committed() *pb.TransactRequest {
	s.t.Helper()
	seen := s.seen("Transact")
	if len(seen) != 1 {
		s.t.Fatalf("%d transactions", len(seen))
	}
	return seen[0].message.(*pb.TransactRequest)
}

// doing is a transaction's function of steps.
func doing(steps ...func(ctx context.Context, tx *Transaction) error) func(context.Context, *Transaction) error {
	return func(ctx context.Context, tx *Transaction) error {
		for _, step := range steps {
			if err := step(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	}
}

// reading reads a record, which may be missing.
func reading(key string) func(context.Context, *Transaction) error {
	return func(ctx context.Context, tx *Transaction) error {
		_, err := tx.Get(ctx, key)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		return err
	}
}

func putting(key string, options ...OpOption) func(context.Context, *Transaction) error {
	return func(_ context.Context, tx *Transaction) error { return tx.Put(key, []byte("v"), options...) }
}

func deleting(key string, options ...OpOption) func(context.Context, *Transaction) error {
	return func(_ context.Context, tx *Transaction) error { return tx.Delete(key, options...) }
}

func adding(key string) func(context.Context, *Transaction) error {
	return func(_ context.Context, tx *Transaction) error { return tx.Increment(key, 1) }
}

func TestARecordIsReadOnceAndItsWritesAreReadBack(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.script("Get", holding("1", "e1"))
		err := client.Transaction(t.Context(), func(ctx context.Context, tx *Transaction) error {
			for range 2 {
				equal(t, "read", string(must[*Record](t)(tx.Get(ctx, "k")).Value), "1")
			}
			_ = tx.Put("k", []byte("2"), ContentType("text/plain"))
			back := must[*Record](t)(tx.Get(ctx, "k"))
			equal(t, "read back", string(back.Value)+back.ContentType+back.Etag, "2text/plain")
			_ = tx.Delete("k")
			_, err := tx.Get(ctx, "k")
			mustBe(t, err, ErrNotFound)
			return nil
		})
		equal(t, "error", err, nil)
		equal(t, "gets", len(service.seen("Get")), 1)
	})
}

func TestReadsOfOneRecordAtATimeSeeTheSame(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		slow := func(ctx context.Context, message proto.Message) (proto.Message, error) {
			time.Sleep(time.Second)
			return holding("late", "e2")(ctx, message)
		}
		service.script("Get", slow, holding("early", "e1"))
		err := client.Transaction(t.Context(), func(ctx context.Context, tx *Transaction) error {
			late := make(chan string)
			go func() { late <- string(must[*Record](t)(tx.Get(ctx, "k")).Value) }()
			synctest.Wait() // until the first has been sent
			equal(t, "one", string(must[*Record](t)(tx.Get(ctx, "k")).Value), "early")
			equal(t, "other", <-late, "early")
			return tx.Put("other", nil)
		})
		equal(t, "error", err, nil)
		equal(t, "check", service.committed().GetChecks()[0].GetPrecondition().GetEtag(), "e1")
	})
}

func TestAMissingRecordIsReadOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		err := client.Transaction(t.Context(), doing(reading("k"), reading("k"), putting("other")))
		equal(t, "error", err, nil)
		equal(t, "gets", len(service.seen("Get")), 1)
		check := service.committed().GetChecks()[0]
		equal(t, "must be absent", check.GetPrecondition().GetAbsent(), true)
	})
}

func TestARecordThatTheTransactionUpdatesCannotBeRead(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		mustBe(t, client.Transaction(t.Context(), doing(adding("k"), reading("k"))), ErrUsage)
		equal(t, "sent", len(service.seen("Transact")), 0)
	})
}

func TestASecondWriteReplacesTheFirstAndKeepsItsConditionAndExpiry(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		err := client.Transaction(t.Context(), doing(
			putting("k", IfEtag("e1"), TTL(time.Hour)),
			func(_ context.Context, tx *Transaction) error { return tx.Put("k", []byte("2"), KeepExpiry()) },
		))
		equal(t, "error", err, nil)
		puts := service.committed().GetPuts()
		equal(t, "puts", len(puts), 1)
		equal(t, "value", string(puts[0].GetValue()), "2")
		equal(t, "condition", puts[0].GetPrecondition().GetEtag(), "e1")
		equal(t, "ttl", proto.Equal(puts[0].GetTtl(), durationpb.New(time.Hour)), true)
	})
}

func TestAPutAfterADeleteHasNoExpiryToKeep(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		equal(t, "error", client.Transaction(t.Context(), doing(deleting("k"), putting("k", KeepExpiry()))), nil)
		equal(t, "expiry", service.committed().GetPuts()[0].GetExpiry(), nil)
	})
}

func TestASecondWriteThatCannotBeOneWithTheFirstIsAUsageErrorAlsoWhereItIsIgnored(t *testing.T) {
	ignoring := func(step func(context.Context, *Transaction) error) func(context.Context, *Transaction) error {
		return func(ctx context.Context, tx *Transaction) error {
			mustBe(t, step(ctx, tx), ErrUsage)
			return nil
		}
	}
	for _, second := range []func(context.Context, *Transaction) error{
		putting("k", IfExists()), deleting("k", IfEtag("e")), adding("k"), putting("k", TTL(1), KeepExpiry()),
	} {
		inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
			mustBe(t, client.Transaction(t.Context(), doing(putting("k"), ignoring(second))), ErrUsage)
			equal(t, "sent", len(service.seen("Transact")), 0)
		})
	}
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		mustBe(t, client.Transaction(t.Context(), doing(adding("k"), putting("k"))), ErrUsage)
	})
}

func TestWhatWasReadBecomesAConditionOfWhatIsWrittenAndElseACheck(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.script("Get", holding("1", "read"), holding("2", "written"))
		err := client.Transaction(t.Context(), doing(reading("r"), reading("w"), putting("w", IfExists()), adding("u")))
		equal(t, "error", err, nil)
		message := service.committed()
		equal(t, "check", message.GetChecks()[0].GetPrecondition().GetEtag(), "read")
		equal(t, "checks", len(message.GetChecks()), 1)
		equal(t, "condition", message.GetPuts()[0].GetPrecondition().GetEtag(), "written")
		if message.GetUpdates()[0].GetPrecondition() != nil || message.GetPuts()[0].GetRequest() != nil {
			t.Errorf("%v", message)
		}
		if message.GetRequest().GetNumber() == 0 || message.GetRequest().GetFirstSent() == nil {
			t.Errorf("request %v", message.GetRequest())
		}
	})
}

func TestADeleteOfARecordThatMustBeAbsentBecomesACheck(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		err := client.Transaction(t.Context(), doing(reading("k"), putting("k"), deleting("k"), putting("other")))
		equal(t, "error", err, nil)
		message := service.committed()
		equal(t, "deletes", len(message.GetDeletes()), 0)
		equal(t, "check", message.GetChecks()[0].GetPrecondition().GetAbsent(), true)
	})
}

func TestAConditionOfTheCallersOwnThatWhatWasReadContradictsFailsOnce(t *testing.T) {
	for _, each := range []struct {
		condition OpOption
		found     answer
		kind      Kind
	}{
		{IfAbsent(), holding("1", "e1"), ErrAlreadyExists},
		{IfEtag("e2"), holding("1", "e1"), ErrConflict},
		{IfExists(), succeed, ErrNotFound},
		{IfEtag("e2"), succeed, ErrConflict},
	} {
		inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
			service.script("Get", each.found)
			runs := 0
			err := client.Transaction(t.Context(), func(ctx context.Context, tx *Transaction) error {
				runs++
				return doing(reading("k"), putting("k", each.condition))(ctx, tx)
			})
			equal(t, "record", mustBe(t, err, each.kind).Record.Key, "k")
			equal(t, "runs", runs, 1)
			equal(t, "sent", len(service.seen("Transact")), 0)
		})
	}
}

func TestATransactionThatOnlyReadsSeveralRecordsReadsThemOnceMoreAsOne(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		equal(t, "of none", client.Transaction(t.Context(), doing()), nil)
		equal(t, "of one", client.Transaction(t.Context(), doing(reading("a"))), nil)
		equal(t, "snapshots", len(service.seen("Snapshot")), 0)
		service.script("Get", holding("1", "e1"), holding("2", "e2"))
		err := client.Transaction(t.Context(), doing(reading("a"), reading("b")), Tries(1)) // now there are none
		equal(t, "etag now", mustBe(t, err, ErrConflict).Etag, "")
		equal(t, "snapshots", len(service.seen("Snapshot")), 1)
		equal(t, "of several", client.Transaction(t.Context(), doing(reading("a"), reading("b"))), nil)
		equal(t, "transactions", len(service.seen("Transact")), 0)
	})
}

// conflictOn is the failure of a commit about a record, with the default store named.
func conflictOn(code codes.Code, reason, key string) answer {
	return failing(refusal(code, reason, map[string]string{"store": "redis", "key": key, "etag": "new"}))
}

func TestTheFunctionRunsAgainWhereOthersCameBetween(t *testing.T) {
	for _, overtaken := range []answer{
		conflictOn(codes.Aborted, "ETAG_MISMATCH", "k"),
		conflictOn(codes.AlreadyExists, "RECORD_ALREADY_EXISTS", "k"),
		conflictOn(codes.NotFound, "RECORD_NOT_FOUND", "k"),
		failing(refusal(codes.Aborted, "TRANSACTION_CONFLICT", nil)),
	} {
		inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
			pausesAre(t, 1)
			service.script("Transact", overtaken, overtaken)
			began, runs := time.Now(), 0
			err := client.Transaction(t.Context(), func(ctx context.Context, tx *Transaction) error {
				runs++
				return doing(reading("k"), putting("k"))(ctx, tx)
			})
			equal(t, "error", err, nil)
			equal(t, "runs", runs, 3)
			equal(t, "reads", len(service.seen("Get")), 3)
			equal(t, "pauses", time.Since(began), 150*time.Millisecond)
		})
	}
}

func TestTheFunctionRunsAtMostSoOften(t *testing.T) {
	for _, each := range []struct {
		options []TransactionOption
		runs    int
	}{{nil, 10}, {[]TransactionOption{Tries(3)}, 3}} {
		inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
			overtaken := conflictOn(codes.Aborted, "ETAG_MISMATCH", "k")
			service.script("Transact", overtaken, overtaken, overtaken, overtaken, overtaken, overtaken, overtaken, overtaken,
				overtaken, overtaken, overtaken)
			err := client.Transaction(t.Context(), doing(reading("k"), putting("k")), each.options...)
			equal(t, "etag", mustBe(t, err, ErrConflict).Etag, "new")
			equal(t, "runs", len(service.seen("Transact")), each.runs)
		})
	}
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		mustBe(t, client.Transaction(t.Context(), doing(), Tries(0)), ErrUsage)
	})
}

func TestAFailedConditionOfTheCallersOwnIsNotTriedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.script("Transact", conflictOn(codes.Aborted, "ETAG_MISMATCH", "own"))
		err := client.Transaction(t.Context(), doing(reading("k"), putting("own", IfEtag("e"))))
		mustBe(t, err, ErrConflict)
		equal(t, "runs", len(service.seen("Transact")), 1)
	})
}

func TestAReadThatFailedFailsTheTransactionThoughTheFunctionGoesOn(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.script("Get", failing(status.Error(codes.NotFound, "a proxy's")))
		err := client.Transaction(t.Context(), doing(reading("k"), putting("k"))) // it takes any ErrNotFound for a missing record
		equal(t, "reason", mustBe(t, err, ErrNotFound).Reason, "")
		equal(t, "sent", len(service.seen("Transact")), 0)
	})
}

func TestCancellingATransactionInAPauseEndsIt(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		pausesAre(t, 1)
		service.script("Transact", conflictOn(codes.Aborted, "ETAG_MISMATCH", "k"))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- client.Transaction(ctx, doing(reading("k"), putting("k"))) }()
		synctest.Wait()
		cancel()
		mustBe(t, <-ended, ErrCancelled)
		equal(t, "sent", len(service.seen("Transact")), 1)
	})
}

func TestWhatTheFunctionReturnsPassesThroughAndNothingIsApplied(t *testing.T) {
	own := errors.New("not enough")
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		err := client.Transaction(t.Context(), doing(putting("k"), func(context.Context, *Transaction) error { return own }))
		equal(t, "error", err, own)
		equal(t, "sent", len(service.seen("Transact")), 0)
	})
}

func TestTheWholeTransactionHasOneDeadline(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		pausesAre(t, 1)
		began := time.Now()
		overtaken := func(ctx context.Context, message proto.Message) (proto.Message, error) {
			select {
			case <-ctx.Done():
			case <-time.After(2 * time.Second):
			}
			return conflictOn(codes.Aborted, "ETAG_MISMATCH", "k")(ctx, message)
		}
		service.script("Transact", overtaken, overtaken, overtaken, overtaken, overtaken)
		// Also for reads by a context that has none.
		err := client.Transaction(t.Context(), func(context.Context, *Transaction) error { return nil }, Tries(1))
		equal(t, "error", err, nil)
		err = client.Transaction(t.Context(), func(_ context.Context, tx *Transaction) error {
			return doing(reading("k"), putting("k"))(t.Context(), tx)
		})
		if err == nil || time.Since(began) > 5*time.Second {
			t.Errorf("it ended with %v after %v", err, time.Since(began))
		}
	}, WithTimeout(5*time.Second))
}

func TestAReadInATransactionHasNoMoreTimeThanTheWhole(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.script("Get", silent, silent, silent)
		began := time.Now()
		err := client.Transaction(t.Context(), func(_ context.Context, tx *Transaction) error {
			time.Sleep(3 * time.Second)
			return reading("k")(t.Context(), tx) // by a context that has no deadline
		})
		mustBe(t, err, ErrDeadlineExceeded)
		equal(t, "took", time.Since(began).Round(time.Millisecond) <= 5*time.Second, true)
	}, WithTimeout(5*time.Second))
}

func TestATransactionWhosePauseDoesNotFitIntoItsTimeEndsAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		pausesAre(t, 1)
		must[string](t)(client.Put(t.Context(), "first", nil))
		service.script("Transact", func(ctx context.Context, message proto.Message) (proto.Message, error) {
			time.Sleep(30 * time.Millisecond)
			return conflictOn(codes.Aborted, "ETAG_MISMATCH", "k")(ctx, message)
		})
		ctx, cancel := context.WithTimeout(t.Context(), 70*time.Millisecond)
		defer cancel()
		began := time.Now()
		mustBe(t, client.Transaction(ctx, doing(reading("k"), putting("k"))), ErrConflict)
		equal(t, "took", time.Since(began), 30*time.Millisecond)
	})
}
