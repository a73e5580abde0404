package keepstate_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	keepstate "github.com/keepstate/keepstate/client/go"
)

func Example() {
	client, err := keepstate.New("localhost:7400")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()
	etag, err := client.PutJSON(ctx, "user:7", map[string]string{"name": "Ada"}, keepstate.TTL(time.Hour))
	if err != nil {
		log.Fatal(err)
	}
	_, err = client.PutJSON(ctx, "user:7", map[string]string{"name": "Ada Lovelace"}, keepstate.IfEtag(etag))
	if errors.Is(err, keepstate.ErrConflict) {
		log.Fatal("somebody else wrote it meanwhile")
	}
}

func ExampleState_Transaction() {
	client, err := keepstate.New("localhost:7400")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	err = client.Transaction(context.Background(), func(ctx context.Context, tx *keepstate.Transaction) error {
		record, err := tx.Get(ctx, "account:1")
		if err != nil {
			return err
		}
		var left int
		if err := record.DecodeJSON(&left); err != nil {
			return err
		}
		if err := tx.PutJSON("account:1", left-10); err != nil {
			return err
		}
		return tx.Increment("account:2", 10)
	})
	if err != nil {
		log.Fatal(err)
	}
}

func ExampleState_Batch() {
	client, err := keepstate.New("localhost:7400")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	results, err := client.Batch(context.Background(),
		keepstate.Get("user:1"),
		keepstate.PutJSON("user:2", "Grace"),
		keepstate.Delete("user:3"),
	)
	if err != nil {
		log.Fatal(err)
	}
	for _, result := range results {
		if result.Err != nil {
			fmt.Println("failed:", result.Err)
		}
	}
}

func ExampleWithTokenSource() {
	fromFile := func(context.Context) (string, error) { // asked before each attempt: what it is renewed to counts at once
		token, err := os.ReadFile("/var/run/secrets/keepstate/token")
		return strings.TrimSpace(string(token)), err
	}
	client, err := keepstate.New("keepstate.example.com:7400",
		keepstate.WithTLS(keepstate.TLS{}), keepstate.WithTokenSource(fromFile))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
}

func ExampleNew_refused() {
	_, err := keepstate.New("http://localhost:7400")
	fmt.Println(errors.Is(err, keepstate.ErrUsage))
	fmt.Println(err)
	// Output:
	// true
	// keepstate: usage: address: it must be host:port, without a scheme: "http://localhost:7400"
}

func ExampleError() {
	var err error = &keepstate.Error{Kind: keepstate.ErrTransactionConflict, Message: "others came between"}
	fmt.Println(errors.Is(err, keepstate.ErrConflict)) // the kind that it is a special case of
	var failure *keepstate.Error
	if errors.As(err, &failure) {
		fmt.Println(failure.Kind == keepstate.ErrTransactionConflict, failure.NothingSent)
	}
	// Output:
	// true
	// true false
}

func ExampleRecord_DecodeJSON() {
	record := &keepstate.Record{Value: []byte(`{"name":"Ada"}`), ContentType: "application/json"}
	var user struct{ Name string }
	if err := record.DecodeJSON(&user); err != nil {
		log.Fatal(err)
	}
	fmt.Println(user.Name)
	// Output: Ada
}
