package keepstate

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/keepstate/keepstate/client/go/keepstatev1"
)

// fakeService answers as it is told, over a connection in memory. In a bubble of synctest its time and the client's is the
// bubble's, so that nobody waits for pauses and deadlines.
type fakeService struct {
	t        *testing.T
	listener *bufconn.Listener

	mu sync.Mutex
	// ahead is by how much its clock is ahead of the client's.
	ahead time.Duration
	// untimed: its answers tell no time.
	untimed bool
	// refused is why no connection is made. Nil: they are.
	refused error
	// connecting is what is waited for before a connection is made. Nil: nothing.
	connecting  func(context.Context)
	connections []*hangingConn
	// first serves the next connection. Nil: the service itself does.
	first   func(net.Conn)
	scripts map[string][]answer
	calls   map[string][]seenCall
}

// answer is what a call gets.
type answer func(ctx context.Context, message proto.Message) (proto.Message, error)

type seenCall struct {
	message  proto.Message
	metadata metadata.MD
	at       time.Time
	left     time.Duration
	ended    chan struct{}
}

// inBubble runs a test with a client of a service that are alone in a bubble.
func inBubble(t *testing.T, test func(t *testing.T, client *Client, service *fakeService), options ...Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		service := newFakeService(t)
		client := service.client(options...)
		test(t, client, service)
	})
}

func newFakeService(t *testing.T) *fakeService {
	service := &fakeService{
		t: t, listener: bufconn.Listen(1 << 20), scripts: map[string][]answer{}, calls: map[string][]seenCall{},
	}
	server := grpc.NewServer(
		grpc.UnaryInterceptor(service.serve), grpc.MaxRecvMsgSize(64<<20), grpc.MaxSendMsgSize(64<<20),
		// As the service has it: who pings more often is sent away.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	)
	pb.RegisterStateServiceServer(server, pb.UnimplementedStateServiceServer{})
	pb.RegisterStoreServiceServer(server, pb.UnimplementedStoreServiceServer{})
	go func() { _ = server.Serve(service.listener) }()
	t.Cleanup(server.Stop)
	return service
}

func (s *fakeService) client(options ...Option) *Client {
	s.t.Helper()
	client, err := New("localhost:7400", append(options, func(set *settings) error {
		set.dial = []grpc.DialOption{grpc.WithContextDialer(s.connect)}
		return nil
	})...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = client.Close() })
	return client
}

func (s *fakeService) connect(ctx context.Context, _ string) (net.Conn, error) {
	s.mu.Lock()
	refused, connecting, first := s.refused, s.connecting, s.first
	s.first = nil
	s.mu.Unlock()
	if first != nil {
		one, other := net.Pipe()
		go first(other)
		return one, nil
	}
	if connecting != nil {
		connecting(ctx)
	}
	if refused != nil {
		return nil, refused
	}
	made, err := s.listener.DialContext(ctx)
	if err != nil {
		return nil, err
	}
	connection := &hangingConn{Conn: made, hung: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connections = append(s.connections, connection)
	return connection, nil
}

// hang has all connections so far carry nothing more, as if the network were gone.
func (s *fakeService) hang() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, each := range s.connections {
		close(each.hung)
	}
}

// hangingConn is a connection of a client that may hang.
type hangingConn struct {
	net.Conn
	hung chan struct{}
}

// Write loses what is written once the connection hangs.
func (c *hangingConn) Write(data []byte) (int, error) {
	select {
	case <-c.hung:
		return len(data), nil
	default:
		return c.Conn.Write(data)
	}
}

// serveFirst has the next connection served otherwise.
func (s *fakeService) serveFirst(by func(net.Conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.first = by
}

func (s *fakeService) refuseConnections(with error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = with
}

func (s *fakeService) serve(ctx context.Context, message any, info *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
	method := info.FullMethod[strings.LastIndex(info.FullMethod, "/")+1:]
	given, _ := metadata.FromIncomingContext(ctx)
	call := seenCall{
		message: proto.Clone(message.(proto.Message)), metadata: given, at: time.Now(), ended: make(chan struct{}),
	}
	if deadline, has := ctx.Deadline(); has {
		call.left = time.Until(deadline)
	}
	defer close(call.ended)
	s.mu.Lock()
	s.calls[method] = append(s.calls[method], call)
	act := succeed
	if script := s.scripts[method]; len(script) > 0 {
		act, s.scripts[method] = script[0], script[1:]
	}
	if !s.untimed {
		stamp := time.Now().Add(s.ahead).UTC().Format("2006-01-02T15:04:05.000Z")
		_ = grpc.SetTrailer(ctx, metadata.Pairs(timeKey, stamp))
	}
	s.mu.Unlock()
	return act(ctx, message.(proto.Message))
}

// script has the next calls of a method answered so, one after the other, and then successfully.
func (s *fakeService) script(method string, answers ...answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scripts[method] = answers
}

// seen are the calls of a method so far.
func (s *fakeService) seen(method string) []seenCall {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]seenCall(nil), s.calls[method]...)
}

// requests are those of the puts so far.
func (s *fakeService) requests() []*pb.RequestId {
	var requests []*pb.RequestId
	for _, call := range s.seen("Put") {
		requests = append(requests, call.message.(*pb.PutRequest).GetRequest())
	}
	return requests
}

// succeed answers as a service does that has room for everything and holds no records.
func succeed(_ context.Context, message proto.Message) (proto.Message, error) {
	switch message := message.(type) {
	case *pb.GetRequest:
		return nil, refusal(codes.NotFound, reasonNotFound, facts(message.GetName()))
	case *pb.PutRequest:
		return &pb.PutResponse{Etag: "e"}, nil
	case *pb.DeleteRequest:
		return &pb.DeleteResponse{Existed: true}, nil
	case *pb.TouchRequest:
		return &pb.TouchResponse{Etag: "e"}, nil
	case *pb.UpdateRequest:
		return &pb.UpdateResponse{Record: &pb.Record{Name: message.GetName(), Value: []byte("1"), Etag: "e"}}, nil
	case *pb.BatchRequest:
		return batchOf(len(message.GetOperations()), &pb.BatchResult{Result: &pb.BatchResult_Put{Put: &pb.PutResponse{Etag: "e"}}}), nil
	case *pb.TransactRequest:
		return transacted(message), nil
	case *pb.SnapshotRequest:
		answer := &pb.SnapshotResponse{}
		for _, name := range message.GetNames() {
			answer.Items = append(answer.Items, &pb.SnapshotItem{Name: name})
		}
		return answer, nil
	case *pb.GetStoreRequest:
		return &pb.GetStoreResponse{Store: &pb.Store{Name: "redis"}}, nil
	}
	return nil, status.Error(codes.Unimplemented, "not here")
}

func batchOf(count int, result *pb.BatchResult) *pb.BatchResponse {
	answer := &pb.BatchResponse{}
	for range count {
		answer.Results = append(answer.Results, result)
	}
	return answer
}

func transacted(message *pb.TransactRequest) *pb.TransactResponse {
	answer := &pb.TransactResponse{}
	for range message.GetPuts() {
		answer.Puts = append(answer.Puts, &pb.PutResponse{Etag: "e"})
	}
	for range message.GetDeletes() {
		answer.Deletes = append(answer.Deletes, &pb.DeleteResponse{})
	}
	for _, update := range message.GetUpdates() {
		answer.Updates = append(answer.Updates, &pb.UpdateResponse{Record: &pb.Record{Name: update.GetName()}})
	}
	return answer
}

func facts(name *pb.RecordName) map[string]string {
	return map[string]string{"store": name.GetStore(), "namespace": name.GetNamespace(), "key": name.GetKey()}
}

// refusal is a failure as the service says it.
func refusal(code codes.Code, reason string, with map[string]string, more ...proto.Message) error {
	details := []protoadapt.MessageV1{
		protoadapt.MessageV1Of(&errdetails.ErrorInfo{Domain: errorDomain, Reason: reason, Metadata: with}),
	}
	for _, each := range more {
		details = append(details, protoadapt.MessageV1Of(each))
	}
	said, err := status.New(code, "it said so").WithDetails(details...)
	if err != nil {
		panic(err)
	}
	return said.Err()
}

func comeAgain(after time.Duration) *errdetails.RetryInfo {
	return &errdetails.RetryInfo{RetryDelay: durationpb.New(after)}
}

func rawJSON(text string) json.RawMessage { return json.RawMessage(text) }

// failing answers with this failure.
func failing(err error) answer {
	return func(context.Context, proto.Message) (proto.Message, error) { return nil, err }
}

var (
	unavailable = failing(refusal(codes.Unavailable, "STORE_UNAVAILABLE", nil))
	unknown     = failing(refusal(codes.Unknown, "OUTCOME_UNKNOWN", nil))
	nothingSent = failing(refusal(codes.Unavailable, "STORE_UNAVAILABLE", map[string]string{"nothing_sent": "true"}))
)

// silent gives no answer until the caller has gone.
func silent(ctx context.Context, _ proto.Message) (proto.Message, error) {
	<-ctx.Done()
	return nil, status.FromContextError(ctx.Err()).Err()
}

// holding answers with a record.
func holding(value, etag string) answer {
	return func(_ context.Context, message proto.Message) (proto.Message, error) {
		name := message.(*pb.GetRequest).GetName()
		return &pb.GetResponse{Record: &pb.Record{Name: name, Value: []byte(value), Etag: etag}}, nil
	}
}

// pausesAre makes every pause the longest that it may be, or nothing.
func pausesAre(t *testing.T, share float64) {
	before := drawn
	drawn = func() float64 { return share }
	t.Cleanup(func() { drawn = before })
}

// mustBe sees that an error is of a kind, and of no other that is no parent of it.
func mustBe(t *testing.T, err error, kind Kind) *Error {
	t.Helper()
	var failure *Error
	if !errors.As(err, &failure) || failure.Kind != kind {
		t.Fatalf("got %v, expected %v", err, kind)
	}
	return failure
}

func must[T any](t *testing.T) func(T, error) T {
	return func(got T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
}

func equal[T comparable](t *testing.T, what string, got, expected T) {
	t.Helper()
	if got != expected {
		t.Errorf("%s: %v, expected %v", what, got, expected)
	}
}
