package keepstate

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	pb "github.com/keepstate/keepstate/client/go/keepstatev1"
)

func TestAnAddressIsHostAndPort(t *testing.T) {
	for _, address := range []string{
		"", "localhost", "http://localhost:7400", "dns:///localhost:7400", "unix:/run/socket", ":7400", "localhost:", "localhost:0",
		"localhost:65536", "localhost:http", "::1:7400", "a#b:7400", "a?b:7400", "a%20b:7400", "a b:7400", "[fe80::1%eth0]:7400",
		"user@localhost:7400", "[localhost]:7400",
	} {
		_, err := New(address)
		mustBe(t, err, ErrUsage)
		if !strings.Contains(err.Error(), "address") {
			t.Errorf("%v does not name the address", err)
		}
	}
	for _, address := range []string{"localhost:7400", "127.0.0.1:1", "[::1]:65535", "keepstate.example.com:443"} {
		must[*Client](t)(New(address)).Close()
	}
}

func TestATokenIsRefusedInPlaintextOffLoopback(t *testing.T) {
	for address, refused := range map[string]bool{
		"localhost:1": false, "127.9.9.9:1": false, "[::1]:1": false,
		"keepstate.example.com:1": true, "10.0.0.1:1": true, "localhost.example.com:1": true, "[::ffff:127.0.0.1]:1": true,
		"128.0.0.1:1": true,
	} {
		for _, option := range []Option{WithToken("secret"), WithTokenSource(func(context.Context) (string, error) { return "", nil })} {
			client, err := New(address, option)
			equal(t, address, err != nil, refused)
			if err == nil {
				client.Close()
				continue
			}
			mustBe(t, err, ErrUsage)
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("%v says the token", err)
			}
			must[*Client](t)(New(address, option, WithTLS(TLS{}))).Close()
		}
	}
}

func TestATokenAndMetadataGoWithEveryCall(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		must[string](t)(client.Put(t.Context(), "k", nil))
		for _, method := range []string{"GetStore", "Put"} {
			given := service.seen(method)[0].metadata
			equal(t, method, strings.Join(given.Get("authorization"), ","), "Bearer secret")
			equal(t, method, strings.Join(given.Get("dapr-app-id"), ","), "keepstate")
		}
	}, WithToken("secret"), WithMetadata(map[string]string{"Dapr-App-Id": "keepstate"}))
}

func TestWhatElseACallsContextWouldSendIsNotSent(t *testing.T) {
	for _, option := range []Option{WithToken("own"), WithTimeout(time.Second)} {
		inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
			ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer of-a-caller", "dapr-app-id", "other")
			must[string](t)(client.Put(ctx, "k", nil))
			given := service.seen("Put")[0].metadata
			equal(t, "a caller's token", strings.Contains(strings.Join(given.Get("authorization"), ","), "of-a-caller"), false)
			equal(t, "app id", strings.Join(given.Get("dapr-app-id"), ","), "keepstate")
		}, option, WithMetadata(map[string]string{"dapr-app-id": "keepstate"}))
	}
}

func TestATokensSourceIsAskedBeforeEachAttempt(t *testing.T) {
	asked := 0
	source := func(context.Context) (string, error) {
		asked++
		return strings.Repeat("t", asked), nil
	}
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.script("Get", unavailable)
		_, err := client.Get(t.Context(), "k")
		mustBe(t, err, ErrNotFound)
		equal(t, "second", service.seen("Get")[1].metadata.Get("authorization")[0], "Bearer tt")
	}, WithTokenSource(source))
}

func TestATokensSourceThatFailsSendsNothing(t *testing.T) {
	own := errors.New("no token today")
	for _, each := range []struct {
		token string
		err   error
	}{{"", own}, {"secret\n", nil}, {"", nil}} {
		inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
			_, err := client.Put(t.Context(), "k", nil)
			failure := mustBe(t, err, ErrUnauthenticated)
			equal(t, "nothing sent", failure.NothingSent, true)
			equal(t, "its cause", errors.Is(err, own), each.err != nil)
			equal(t, "calls", len(service.seen("Put"))+len(service.seen("GetStore")), 0)
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("%v says the token", err)
			}
		}, WithTokenSource(func(context.Context) (string, error) { return each.token, each.err }))
	}
}

func TestATokensSourceMayTakeNoLongerThanTheCall(t *testing.T) {
	slow := func(ctx context.Context) (string, error) {
		<-ctx.Done()
		return "", ctx.Err()
	}
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		began := time.Now()
		_, err := client.Put(t.Context(), "k", nil)
		equal(t, "nothing sent", mustBe(t, err, ErrDeadlineExceeded).NothingSent, true)
		equal(t, "took", time.Since(began).Round(time.Second), 10*time.Second)
	}, WithTokenSource(slow))
}

func TestOptionsThatCannotBeAreRefused(t *testing.T) {
	for name, option := range map[string]Option{
		"no token":           WithToken(""),
		"a token of lines":   WithToken("a\nb"),
		"no source":          WithTokenSource(nil),
		"no time":            WithTimeout(0),
		"less than a pause":  WithRetry(Retry{Initial: -1}),
		"a space":            WithMetadata(map[string]string{"a b": "c"}),
		"gRPC's own":         WithMetadata(map[string]string{"grpc-timeout": "1S"}),
		"what gRPC drops":    WithMetadata(map[string]string{"User-Agent": "x"}),
		"what it breaks on":  WithMetadata(map[string]string{"connection": "x"}),
		"what HTTP/2 knows":  WithMetadata(map[string]string{"te": "x"}),
		"the client's own":   WithMetadata(map[string]string{"keepstate-time": "x"}),
		"a token past C3":    WithMetadata(map[string]string{"Authorization": "Bearer x"}),
		"bytes":              WithMetadata(map[string]string{"x-bin": "x"}),
		"a value of lines":   WithMetadata(map[string]string{"x": "a\r\nb"}),
		"a key without cert": WithTLS(TLS{ClientKey: "key.pem"}),
		"a missing CA":       WithTLS(TLS{CA: "no/such/file"}),
		"a CA that is none":  WithTLS(TLS{CA: "go.mod"}),
		"a key that is none": WithTLS(TLS{ClientCert: "go.mod", ClientKey: "go.mod"}),
	} {
		_, err := New("localhost:7400", option)
		if mustBe(t, err, ErrUsage); err == nil {
			t.Error(name)
		}
	}
}

func TestAUsageErrorUnwrapsToWhatLedToIt(t *testing.T) {
	_, err := New("localhost:7400", WithTLS(TLS{CA: "no/such/file"}))
	if mustBe(t, err, ErrUsage); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is no fs.ErrNotExist", err)
	}
	var unsupported *json.UnsupportedTypeError
	if err := PutJSON("k", func() {}).err; !errors.As(err, &unsupported) {
		t.Errorf("%v is not that of encoding/json", err)
	}
}

func TestAClientMayBeClosedOnceMore(t *testing.T) {
	client := must[*Client](t)(New("localhost:7400"))
	for range 2 {
		equal(t, "error", client.Close(), nil)
	}
}

func TestAGetWithoutARecordIsAFault(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		nothing := func(context.Context, proto.Message) (proto.Message, error) { return &pb.GetResponse{}, nil }
		service.script("Get", nothing, nothing)
		_, err := client.Get(t.Context(), "k")
		mustBe(t, err, ErrInternal)
		err = client.Transaction(t.Context(), func(ctx context.Context, tx *Transaction) error {
			_, err := tx.Get(ctx, "k")
			return err
		})
		mustBe(t, err, ErrInternal)
		service.script("Batch", func(context.Context, proto.Message) (proto.Message, error) {
			return batchOf(1, &pb.BatchResult{Result: &pb.BatchResult_Get{Get: &pb.GetResponse{}}}), nil
		})
		mustBe(t, must[[]Result](t)(client.Batch(t.Context(), Get("k")))[0].Err, ErrInternal)
	})
}

func TestTheUserAgentNamesTheClientAndItsVersion(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		must[string](t)(client.Put(t.Context(), "k", nil))
		agent := service.seen("Put")[0].metadata.Get("user-agent")[0]
		equal(t, agent, strings.HasPrefix(agent, "keepstate-go/"+Version+" "), true)
	})
}

func TestOneConnectionServesForTheClientsLifeAlsoWithoutCalls(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		must[string](t)(client.Put(t.Context(), "k", nil))
		service.refuseConnections(errors.New("there is to be no other"))
		time.Sleep(24 * time.Hour) // the bubble's
		must[string](t)(client.Namespace("n").Put(t.Context(), "k", nil))
	})
}

func TestAConnectionThatDiedIsNoticedWithoutACallAndMadeAnew(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		must[string](t)(client.Put(t.Context(), "k", nil))
		service.hang()
		time.Sleep(2 * time.Minute) // the bubble's: a ping each minute, answered within 20 s
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := client.Put(ctx, "k", nil); err != nil {
			t.Error(err)
		}
		equal(t, "attempt", service.requests()[1].GetAttempt(), 0)
	})
}

func TestGRPCsOwnRetriesAreOff(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.script("Put", unavailable, unavailable, unavailable)
		_, err := client.Put(t.Context(), "k", nil)
		mustBe(t, err, ErrUnavailable)
		equal(t, "attempts", len(service.seen("Put")), 1)
		equal(t, "header", len(service.seen("Put")[0].metadata.Get("grpc-previous-rpc-attempts")), 0)
	}, WithoutRetry())
}

func TestViewsShareTheConnectionAndNameTheirRecords(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		view := client.Store("s").Namespace("n")
		must[string](t)(view.Put(t.Context(), "k", nil))
		must[string](t)(view.Store("other").Put(t.Context(), "k", nil))
		must[string](t)(view.Put(t.Context(), "k", nil, InNamespace(""), InStore("")))
		for index, name := range []RecordName{{"s", "n", "k"}, {"other", "n", "k"}, {"", "", "k"}} {
			equal(t, "name", nameOf(service.seen("Put")[index].message.(*pb.PutRequest).GetName()), name)
		}
	})
}

func TestConditionsAndExpiriesThatExcludeEachOtherAndWhatAnOperationCannotHaveAreUsageErrors(t *testing.T) {
	later := time.Now().Add(time.Hour)
	for name, operation := range map[string]Operation{
		"two conditions":           Put("k", nil, IfAbsent(), IfEtag("e")),
		"one condition twice":      Delete("k", IfExists(), IfExists()),
		"two expiries":             Put("k", nil, TTL(time.Hour), ExpireAt(later)),
		"an expiry and to keep it": Increment("k", 1, KeepExpiry(), TTL(time.Hour)),
		"an expiry and none":       Touch("k", Never(), TTL(time.Hour)),
		"a touch of nothing":       Touch("k"),
		"a touch that keeps":       Touch("k", KeepExpiry()),
		"a delete's expiry":        Delete("k", TTL(time.Hour)),
		"a delete of what is not":  Delete("k", IfAbsent()),
		"a put's bound":            Put("k", nil, Minimum(1)),
		"a get's condition":        Get("k", IfExists()),
		"a check's expiry":         Check("k", TTL(time.Hour)),
		"a key that is no text":    Put("\xff", nil),
		"a namespace that is none": Put("k", nil, InNamespace("\xff")),
		"a store that is none":     Put("k", nil, InStore("\xff")),
		"a content type":           Put("k", nil, ContentType("\xff")),
		"an etag that is no text":  Put("k", nil, IfEtag("\xff")),
		"JSON cannot say it":       PutJSON("k", func() {}),
		"nor this":                 Append("k", []any{1, make(chan int)}),
		"nor is this JSON":         PutJSON("k", rawJSON("{")),
		"a check of nothing":       Check("k", InNamespace("n")),
	} {
		if operation.err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		mustBe(t, operation.err, ErrUsage)
	}
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		_, err := client.Namespace("\xff").Get(t.Context(), "k")
		mustBe(t, err, ErrUsage)
		_, err = client.Batch(t.Context(), Operation{})
		mustBe(t, err, ErrUsage)
		_, err = client.Transact(t.Context(), Operation{})
		mustBe(t, err, ErrUsage)
	})
}

func TestNumbersComeAndGoExactly(t *testing.T) {
	const least, most = -1 << 63, 1<<63 - 1
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.script("Update", func(_ context.Context, message proto.Message) (proto.Message, error) {
			asked := message.(*pb.UpdateRequest).GetIncrement()
			equal(t, "asked", []int64{asked.GetDelta(), asked.GetInitial(), asked.GetMinimum(), asked.GetMaximum()}[2], least)
			return &pb.UpdateResponse{Record: &pb.Record{Value: []byte("9223372036854775807"), ContentType: contentTypeJSON}}, nil
		})
		updated := must[Updated](t)(client.Increment(t.Context(), "k", most, Initial(0), Minimum(least), Maximum(most)))
		var number int64
		if err := updated.Record.DecodeJSON(&number); err != nil || number != most {
			t.Errorf("%d, %v", number, err)
		}
	})
}

func TestJSONIsNotReadFromAnotherContentType(t *testing.T) {
	text := &Record{Name: RecordName{Key: "k"}, Value: []byte("1"), ContentType: "text/plain"}
	var number int
	if err := text.DecodeJSON(&number); err == nil || number != 0 {
		t.Errorf("%d, %v", number, err)
	}
	equal(t, "of another program", (&Record{Value: []byte("1")}).DecodeJSON(&number), nil)
	equal(t, "number", number, 1)
}

func TestJSONGoesAsTheLanguageWritesItAndRawMessagesAsTheyAre(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		must[string](t)(client.PutJSON(t.Context(), "k", map[string]int{"a": 1}))
		put := service.seen("Put")[0].message.(*pb.PutRequest)
		equal(t, "put", string(put.GetValue())+put.GetContentType(), `{"a":1}`+contentTypeJSON)
		must[Updated](t)(client.Append(t.Context(), "k", []any{"x", rawJSON("1.10")}, MaxLength(5)))
		append := service.seen("Update")[0].message.(*pb.UpdateRequest).GetAppend()
		equal(t, "items", string(append.GetItems()[0])+string(append.GetItems()[1]), `"x"1.10`)
		equal(t, "most", append.GetMaxLength(), 5)
		service.script("Get", holding(`{"a":2}`, "e"))
		equal(t, "get", must[map[string]int](t)(GetJSON[map[string]int](t.Context(), client.State, "k"))["a"], 2)
	})
}

func TestAMissingRecordIsTheServicesWordNotAProxys(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		_, err := client.Get(t.Context(), "k")
		equal(t, "reason", mustBe(t, err, ErrNotFound).Reason, "RECORD_NOT_FOUND")
		service.script("Get", failing(refusal(codes.InvalidArgument, "STORE_NOT_FOUND", nil)))
		_, err = client.Get(t.Context(), "k")
		mustBe(t, err, ErrStoreNotFound)
	})
}

func TestAKeepingThatIsNotKnownIsItsNumber(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.script("GetStore", func(context.Context, proto.Message) (proto.Message, error) {
			return &pb.GetStoreResponse{Store: &pb.Store{Promises: []*pb.PromiseStatus{{Keeping: 99}, {Keeping: 1}}}}, nil
		})
		info := must[StoreInfo](t)(client.StoreInfo(t.Context(), ""))
		equal(t, "keeping", info.Promises[0].Keeping.String()+info.Promises[1].Keeping.String(), "99native")
	})
}
