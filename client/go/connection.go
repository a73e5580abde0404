package keepstate

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/keepstate/keepstate/client/go/keepstatev1"
)

const (
	// The largest message that the service takes, and that is taken from it.
	maxMessageBytes = 16 << 20
	// The metadata in which every answer carries the service's time.
	timeKey = "keepstate-time"
)

// connection is what all views of a client share: deadlines, repeats, requests and the service's clock.
type connection struct {
	channel  *grpc.ClientConn
	state    pb.StateServiceClient
	stores   pb.StoreServiceClient
	timeout  time.Duration
	retry    *Retry // nil: nothing is repeated
	token    func(context.Context) (string, error)
	metadata metadata.MD

	clock        serviceClock
	clientNumber func() uint64
	writes       atomic.Uint64
	// learning holds one thing while a call asks for the service's time.
	learning chan struct{}
	closed   chan struct{}
	closing  sync.Once
}

func connect(address string, loopback bool, set *settings) (*connection, error) {
	credentials := insecure.NewCredentials()
	if set.tls != nil {
		var err error
		if credentials, err = newTLSCredentials(*set.tls); err != nil {
			return nil, err
		}
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(credentials),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(maxMessageBytes), grpc.MaxCallRecvMsgSize(maxMessageBytes)),
		// The service lets clients ping every 10 s; proxies may not. Without calls, too, so that a dead connection is noticed
		// before the next one; and never idle.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: time.Minute, Timeout: 20 * time.Second, PermitWithoutStream: true}),
		grpc.WithIdleTimeout(0),
		// A second at first by default: longer than a service needs to restart.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
			MinConnectTimeout: 20 * time.Second,
		}),
		// What is repeated is decided here, with the request's attempt counted, and not by gRPC or its service config. What
		// gRPC sends again all the same was surely not processed.
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithStatsHandler(sendingWatch{}),
		grpc.WithUserAgent("keepstate-go/" + Version),
	}
	if loopback {
		options = append(options, grpc.WithNoProxy())
	}
	// passthrough: the name is looked up at each connection, not held on to where the service has moved.
	channel, err := grpc.NewClient("passthrough:///"+address, append(options, set.dial...)...)
	if err != nil {
		return nil, usage("address: %v", err)
	}
	return &connection{
		channel:      channel,
		state:        pb.NewStateServiceClient(channel),
		stores:       pb.NewStoreServiceClient(channel),
		timeout:      set.timeout,
		retry:        set.retry,
		token:        set.token,
		metadata:     set.metadata,
		clock:        serviceClock{read: readClocks},
		clientNumber: sync.OnceValue(randomNumber),
		learning:     make(chan struct{}, 1),
		closed:       make(chan struct{}),
	}, nil
}

func (c *connection) close() (err error) {
	c.closing.Do(func() {
		close(c.closed)
		err = c.channel.Close()
	})
	return err
}

func (c *connection) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// randomNumber is drawn from all 64-bit numbers but 0.
func randomNumber() uint64 {
	var drawn [8]byte
	for {
		_, _ = rand.Read(drawn[:]) // never fails
		if number := binary.NativeEndian.Uint64(drawn[:]); number != 0 {
			return number
		}
	}
}

// nextRequest is what tells the next write from all others. The time is filled in when the call begins.
func (c *connection) nextRequest() *pb.RequestId {
	return &pb.RequestId{Client: c.clientNumber(), Number: c.writes.Add(1)}
}

// within gives a call its deadline: the context's, else the client's.
func (c *connection) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, c.timeout)
}

// begin begins a call with these parts, and stamps their requests with the service's time. The context has a deadline.
func (c *connection) begin(ctx context.Context, parts ...*part) (*attempts, *Error) {
	deadline, _ := ctx.Deadline()
	all := &attempts{retry: c.retry, deadline: deadline}
	writes := false
	for _, each := range parts {
		writes = writes || each.request != nil
	}
	if writes && !c.isClosed() {
		c.learnTime(ctx, all.share())
	}
	if failure := c.ended(ctx); failure != nil {
		return nil, failure
	}
	for _, each := range parts {
		if each.request != nil {
			each.request.FirstSent = timestamppb.New(c.clock.now())
		}
	}
	return all, nil
}

// ended is why a call is over before it is sent. Nil: it is not.
func (c *connection) ended(ctx context.Context) *Error {
	switch {
	case c.isClosed():
		return notSent(ErrCancelled, codes.Canceled, "the client is closed", nil)
	case ctx.Err() == context.Canceled:
		return notSent(ErrCancelled, codes.Canceled, "the context was cancelled before anything was sent", ctx.Err())
	case ctx.Err() != nil:
		return notSent(ErrDeadlineExceeded, codes.DeadlineExceeded, "time was up before anything was sent", ctx.Err())
	}
	return nil
}

// pauseAfter waits until what failed so is to be sent again. False: it is not.
func (c *connection) pauseAfter(ctx context.Context, all *attempts, failures ...*Error) bool {
	pause, again := all.pauseAfter(failures...)
	return again && c.pause(ctx, all, pause)
}

// pause waits so long before another attempt. False: the time does not allow one, the call was cancelled, or the client
// closed.
func (c *connection) pause(ctx context.Context, all *attempts, length time.Duration) bool {
	if length >= all.left() || c.ended(ctx) != nil {
		return false
	}
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-c.closed:
	}
	return c.ended(ctx) == nil
}

// orCancelled is what a call ends with that was not sent again: where its context was cancelled in a pause, that.
func (e *Error) orCancelled(ctx context.Context) *Error {
	if ctx.Err() != context.Canceled || !e.mayBeRepeated() {
		return e
	}
	ended := *e
	ended.cause = ctx.Err()
	if e.Kind != ErrOutcomeUnknown {
		ended = Error{
			Kind: ErrCancelled, Code: codes.Canceled, Message: "the context was cancelled; before: " + e.Message,
			NothingSent: e.NothingSent, cause: ctx.Err(),
		}
	}
	return &ended
}

// renew makes a part whose last attempt failed so ready for the next.
func (c *connection) renew(each *part, failure *Error) {
	switch {
	case each.request == nil:
	case failure.NothingSent && !each.inDoubt:
		// Nobody has seen the request. As a new one it costs less, and does not grow too old to be told (R3).
		each.request.Number = c.writes.Add(1)
		each.request.FirstSent = timestamppb.New(c.clock.now())
		each.request.Attempt = 0
	default:
		each.request.Attempt++
	}
}

// learnTime asks for the service's time before the first write: by a wrong one it would be refused, or taken for old.
func (c *connection) learnTime(ctx context.Context, limit time.Duration) {
	if c.clock.known() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	// Of several first writes one asks; the others wait no longer than their own time.
	select {
	case c.learning <- struct{}{}:
		defer func() { <-c.learning }()
	case <-ctx.Done():
		return
	}
	if !c.clock.known() {
		// Refusals tell the time too. Where nobody answers, the write's own failure says it better.
		_, _ = send(ctx, c, c.stores.GetStore, &pb.GetStoreRequest{}, limit, false)
	}
}

// get reads a record. It is not nil unless the call failed.
func (c *connection) get(ctx context.Context, message *pb.GetRequest) (*pb.Record, *Error) {
	answer, failure := call(ctx, c, c.state.Get, message, nil)
	if failure == nil && answer.GetRecord() == nil {
		failure = misfit(false, "the service answered a get without a record")
	}
	return answer.GetRecord(), failure
}

// method is a method of the generated stubs.
type method[Q, A any] func(context.Context, Q, ...grpc.CallOption) (A, error)

// call calls the service, again where that is safe and helps. request is the one in the message; nil: it reads.
func call[Q, A any](ctx context.Context, c *connection, to method[Q, A], message Q, request *pb.RequestId) (A, *Error) {
	ctx, cancel := c.within(ctx)
	defer cancel()
	var nothing A
	whole := &part{request: request}
	all, failure := c.begin(ctx, whole)
	if failure != nil {
		return nothing, failure
	}
	for {
		answer, failure := send(ctx, c, to, message, all.share(), request != nil)
		if failure == nil {
			return answer, nil
		}
		told := whole.tell(failure)
		if !c.pauseAfter(ctx, all, failure) {
			return nothing, told.orCancelled(ctx)
		}
		c.renew(whole, failure)
	}
}

// send calls the service once, within limit.
func send[Q, A any](
	ctx context.Context, c *connection, to method[Q, A], message Q, limit time.Duration, writes bool,
) (A, *Error) {
	var nothing A
	attempt, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	sending := &sending{}
	attempt, failure := c.outgoing(context.WithValue(attempt, sendingKey{}, sending))
	if failure != nil {
		return nothing, failure
	}
	var trailer metadata.MD
	began := c.clock.read()
	answer, err := to(attempt, message, grpc.Trailer(&trailer))
	if stamps := trailer.Get(timeKey); len(stamps) > 0 {
		c.clock.observe(stamps[0], began, c.clock.read())
	}
	if err == nil {
		return answer, nil
	}
	failure = errorOfCall(err, trailer, writes, sending.begun.Load())
	if failure.Reason == "" { // else the service said it, whatever has become of the context since
		failure.cause = ctx.Err()
	}
	return nothing, failure
}

// outgoing has the client's metadata sent and its token, if it has one; and no other: a service that hands on what its own
// callers sent would hand on their tokens.
func (c *connection) outgoing(ctx context.Context) (context.Context, *Error) {
	if c.token == nil {
		return metadata.NewOutgoingContext(ctx, c.metadata), nil
	}
	token, err := c.token(ctx)
	if err != nil {
		if failure := c.ended(ctx); failure != nil {
			return ctx, failure // its time was up
		}
		return ctx, notSent(ErrUnauthenticated, codes.Unauthenticated, "the token's source failed", err)
	}
	if token == "" || !isHeaderValue(token) {
		return ctx, notSent(ErrUnauthenticated, codes.Unauthenticated, "the token is not printable ASCII", nil)
	}
	given := metadata.Join(c.metadata, metadata.Pairs("authorization", "Bearer "+token))
	return metadata.NewOutgoingContext(ctx, given), nil
}

// sending is whether the message of an attempt has been handed to a connection. Before, it surely did not reach the service:
// there was no connection, or the message was too large.
type sending struct{ begun atomic.Bool }

type sendingKey struct{}

// sendingWatch has gRPC tell when it hands a message over; its errors do not say.
type sendingWatch struct{}

func (sendingWatch) HandleRPC(ctx context.Context, event stats.RPCStats) {
	attempt, ok := ctx.Value(sendingKey{}).(*sending)
	if !ok {
		return
	}
	switch event := event.(type) {
	case *stats.OutPayload:
		attempt.begun.Store(true)
	case *stats.Begin:
		if event.IsTransparentRetryAttempt { // what was sent before was surely not processed
			attempt.begun.Store(false)
		}
	}
}

func (sendingWatch) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (sendingWatch) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (sendingWatch) HandleConn(context.Context, stats.ConnStats)                       {}
