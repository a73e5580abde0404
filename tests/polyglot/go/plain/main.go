// Command plain calls the service at the address that it is given by generated stubs alone, without a client, and prints
// what it saw as a JSON object: see tests/polyglot/test_stubs.py.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/keepstate/keepstate/client/go/keepstatev1"
)

func main() {
	seen, err := run(os.Args[1], os.Args[2:])
	if err != nil {
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(seen); err != nil {
		log.Fatal(err)
	}
}

// What was seen, by what it is called in the test.
type seen map[string]any

func run(address string, metadataOfCalls []string) (seen, error) {
	connection, err := grpc.NewClient(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20), grpc.MaxCallSendMsgSize(16<<20)))
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	state := pb.NewStateServiceClient(connection)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, metadataOfCalls...)

	all := seen{}
	for _, step := range []func(context.Context, pb.StateServiceClient, seen) error{
		missing, conditions, repeats, batch, transaction,
	} {
		if err := step(ctx, state, all); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Info returns why the service refused a call or an operation of a batch: nil if something else than the service did.
func info(refused *status.Status) *errdetails.ErrorInfo {
	for _, detail := range refused.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.Domain == "keepstate" {
			return info
		}
	}
	return nil
}

// Meaning tells reasons apart as far as it knows them. What a newer service says is known by its code.
func meaning(err error) string {
	refused := status.Convert(err)
	switch reason := info(refused).GetReason(); reason {
	case "RECORD_NOT_FOUND", "RECORD_ALREADY_EXISTS", "ETAG_MISMATCH":
		return reason
	default:
		return refused.Code().String()
	}
}

func name(key string) *pb.RecordName { return &pb.RecordName{Namespace: "plain-go", Key: key} }

func missing(ctx context.Context, state pb.StateServiceClient, all seen) error {
	_, err := state.Get(ctx, &pb.GetRequest{Name: name("nobody")})
	all["missing"] = meaning(err)
	return nil
}

func conditions(ctx context.Context, state pb.StateServiceClient, all seen) error {
	put := &pb.PutRequest{Name: name("user:7"), Value: []byte("\x00\xff"), ContentType: "application/octet-stream"}
	put.Precondition = &pb.Precondition{Condition: &pb.Precondition_Absent{Absent: true}}
	first, err := state.Put(ctx, put)
	if err != nil {
		return err
	}
	_, err = state.Put(ctx, put)
	all["put again"] = meaning(err)
	all["its etag is told"] = info(status.Convert(err)).GetMetadata()["etag"] == first.Etag

	read, err := state.Get(ctx, &pb.GetRequest{Name: put.Name})
	if err != nil {
		return err
	}
	all["value"] = read.Record.Value // base64 in JSON

	put.Precondition = &pb.Precondition{Condition: &pb.Precondition_Etag{Etag: first.Etag}}
	if _, err := state.Put(ctx, put); err != nil {
		return err
	}
	_, err = state.Put(ctx, put)
	all["put with an old etag"] = meaning(err)
	return nil
}

func repeats(ctx context.Context, state pb.StateServiceClient, all seen) error {
	var trailer metadata.MD
	_, _ = state.Get(ctx, &pb.GetRequest{Name: name("nobody")}, grpc.Trailer(&trailer))
	now, err := time.Parse(time.RFC3339Nano, trailer.Get("keepstate-time")[0])
	if err != nil {
		return err
	}
	increment := &pb.UpdateRequest{
		Name:    name("hits"),
		Update:  &pb.UpdateRequest_Increment{Increment: &pb.Increment{Delta: 1}},
		Request: &pb.RequestId{Client: rand.Uint64N(1<<63) + 1, Number: 1, FirstSent: timestamppb.New(now)},
	}
	var answers []string
	for ; increment.Request.Attempt < 3; increment.Request.Attempt++ { // as if the answers had been lost
		updated, err := state.Update(ctx, increment)
		if err != nil {
			return err
		}
		answers = append(answers, fmt.Sprintf("%s %t", updated.Record.Value, updated.Repeated))
	}
	all["repeats"] = answers
	return nil
}

func batch(ctx context.Context, state pb.StateServiceClient, all seen) error {
	done, err := state.Batch(ctx, &pb.BatchRequest{Operations: []*pb.BatchOperation{
		{Operation: &pb.BatchOperation_Put{Put: &pb.PutRequest{Name: name("a"), Value: []byte("1")}}},
		{Operation: &pb.BatchOperation_Get{Get: &pb.GetRequest{Name: name("nobody")}}},
		{Operation: &pb.BatchOperation_Get{Get: &pb.GetRequest{Name: name("a")}}},
	}})
	if err != nil {
		return err
	}
	var results []string
	for _, each := range done.Results {
		switch result := each.Result.(type) {
		case *pb.BatchResult_Get:
			results = append(results, string(result.Get.Record.Value))
		case *pb.BatchResult_Put:
			results = append(results, "put")
		case *pb.BatchResult_Error:
			results = append(results, failed(result.Error))
		}
	}
	all["batch"] = results
	return nil
}

func failed(operation *statuspb.Status) string { return meaning(status.FromProto(operation).Err()) }

func transaction(ctx context.Context, state pb.StateServiceClient, all seen) error {
	absent := &pb.Precondition{Condition: &pb.Precondition_Absent{Absent: true}}
	moved := &pb.TransactRequest{
		Checks:  []*pb.Check{{Name: name("nobody"), Precondition: absent}},
		Puts:    []*pb.PutRequest{{Name: name("b"), Value: []byte("1"), Precondition: absent}},
		Deletes: []*pb.DeleteRequest{{Name: name("a")}},
	}
	done, err := state.Transact(ctx, moved)
	if err != nil {
		return err
	}
	all["transaction"] = []bool{done.Puts[0].Etag != "", done.Deletes[0].Existed}
	_, err = state.Transact(ctx, moved)
	all["transaction again"] = meaning(err)
	all["its record is told"] = info(status.Convert(err)).GetMetadata()["key"]
	return nil
}
