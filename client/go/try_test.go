package keepstate

import (
	"context"
	"testing"
	"time"
)

func TestReadsAndWritesAfterTheFunctionAreUsageErrors(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		var kept *Transaction
		_ = client.Transaction(t.Context(), func(_ context.Context, tx *Transaction) error {
			kept = tx
			return nil
		})
		_, err := kept.Get(t.Context(), "k")
		mustBe(t, err, ErrUsage)
		mustBe(t, kept.Put("k", nil), ErrUsage)
		equal(t, "gets", len(service.seen("Get")), 0)
	})
}

func TestReadsAndWritesAfterAFunctionThatPanickedAreUsageErrors(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		var kept *Transaction
		func() {
			defer func() { equal(t, "panic", recover(), any("oh")) }()
			_ = client.Transaction(t.Context(), func(_ context.Context, tx *Transaction) error {
				kept = tx
				panic("oh")
			})
		}()
		mustBe(t, kept.Put("k", nil), ErrUsage)
		equal(t, "sent", len(service.seen("Transact")), 0)
	})
}

func TestAReadThatFailsAfterTheFunctionIsNoPartOfTheTransaction(t *testing.T) {
	this := newTry(nil, time.Now())
	_ = this.run(t.Context(), func(context.Context, *Transaction) error { return nil }, scope{})
	this.fail(&Error{Kind: ErrUnavailable}) // of a goroutine that the function has left behind, while the rest is committed
	if _, failure := this.end(); failure != nil {
		t.Error(failure)
	}
}

func TestATransactionHoldsOnToNoSliceOfItsCaller(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.script("Get", holding("read", "e"))
		err := client.Transaction(t.Context(), func(ctx context.Context, tx *Transaction) error {
			value, item, patch := []byte("1"), rawJSON("1"), rawJSON("1")
			_ = tx.Put("put", value)
			_ = tx.Append("append", []any{item})
			_ = tx.MergePatch("patch", patch)
			value[0], item[0], patch[0] = '2', '2', '2' // as for the next record
			for range 2 {
				read := must[*Record](t)(tx.Get(ctx, "get"))
				equal(t, "read", string(read.Value), "read")
				clear(read.Value)
			}
			return nil
		})
		equal(t, "error", err, nil)
		message := service.committed()
		equal(t, "put", string(message.GetPuts()[0].GetValue()), "1")
		equal(t, "item", string(message.GetUpdates()[0].GetAppend().GetItems()[0]), "1")
		equal(t, "patch", string(message.GetUpdates()[1].GetMergePatch().GetPatch()), "1")
	})
}
