package keepstate

import (
	"context"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	pb "github.com/keepstate/keepstate/client/go/keepstatev1"
)

func TestTransactGivesEachOperationItsResultInTheOrderGiven(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.script("Transact", func(context.Context, proto.Message) (proto.Message, error) {
			return &pb.TransactResponse{
				Puts:    []*pb.PutResponse{{Etag: "p1"}, {Etag: "p2"}},
				Deletes: []*pb.DeleteResponse{{Existed: true}},
				Updates: []*pb.UpdateResponse{{Record: &pb.Record{Value: []byte("7"), Etag: "u"}}},
			}, nil
		})
		results := must[[]Result](t)(client.Transact(t.Context(),
			Delete("d"), Put("a", nil), Check("c", IfExists()), Increment("u", 1), Put("b", nil)))
		equal(t, "delete", results[0].Existed, true)
		equal(t, "puts", results[1].Etag+results[4].Etag, "p1p2")
		equal(t, "check", results[2], Result{})
		equal(t, "update", string(results[3].Record.Value), "7")
		equal(t, "deletes have no request", service.committed().GetDeletes()[0].GetRequest() == nil, true)
	})
}

func TestATransactionsAnswerThatDoesNotFitIsAnUnknownOutcome(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.script("Transact", func(context.Context, proto.Message) (proto.Message, error) {
			return &pb.TransactResponse{}, nil
		})
		_, err := client.Transact(t.Context(), Put("a", nil))
		mustBe(t, err, ErrOutcomeUnknown)
	})
}

func TestASnapshotHasARecordOrNilForEachName(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.script("Snapshot", func(_ context.Context, message proto.Message) (proto.Message, error) {
			names := message.(*pb.SnapshotRequest).GetNames()
			there := &pb.Record{Name: names[0], Etag: "e"}
			return &pb.SnapshotResponse{Items: []*pb.SnapshotItem{{Name: names[0], Record: there}, {Name: names[1]}}}, nil
		}, func(context.Context, proto.Message) (proto.Message, error) { return &pb.SnapshotResponse{}, nil })
		found := must[[]*Record](t)(client.Snapshot(t.Context(), Get("a", InStore("other")), Get("b")))
		equal(t, "there", found[0].Name, RecordName{Store: "other", Key: "a"})
		equal(t, "missing", found[1] == nil, true)
		_, err := client.Snapshot(t.Context(), Get("a"))
		mustBe(t, err, ErrInternal)
		_, err = client.Snapshot(t.Context(), Put("a", nil))
		mustBe(t, err, ErrUsage)
		_, err = client.Snapshot(t.Context(), Get("a", SlideTTL(time.Hour)))
		mustBe(t, err, ErrUsage)
	})
}
