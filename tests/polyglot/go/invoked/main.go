// Command invoked calls the service with the Go client through Dapr's service invocation: see
// tests/polyglot/test_invocation_go.py.
//
//	invoked ADDRESS APP-ID calls   reads, writes and is refused, and prints what it saw
//	invoked ADDRESS APP-ID once    reads and writes one record, without repeats, and prints with which errors
//	invoked ADDRESS APP-ID count   increments one record after the other until its standard input ends, and prints each
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"github.com/keepstate/keepstate/client/go"
)

func main() {
	address, app, work := os.Args[1], os.Args[2], os.Args[3]
	options := []keepstate.Option{keepstate.WithMetadata(map[string]string{"dapr-app-id": app})}
	if work == "once" {
		options = append(options, keepstate.WithoutRetry())
	}
	client, err := keepstate.New(address, options...)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	state := client.Namespace("invoked-go")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	switch work {
	case "calls":
		err = calls(ctx, state)
	case "once":
		err = once(ctx, state)
	case "count":
		err = count(ctx, state)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func printed(value any) error { return json.NewEncoder(os.Stdout).Encode(value) }

// Failure is what the tests look at of an error.
func failure(err error) map[string]any {
	var failed *keepstate.Error
	if !errors.As(err, &failed) {
		return nil
	}
	told := map[string]any{
		"kind": string(failed.Kind), "code": failed.Code.String(), "reason": failed.Reason, "etag": failed.Etag,
		"nothing sent": failed.NothingSent, "message": failed.Message,
	}
	if failed.Record != nil {
		told["record"] = []string{failed.Record.Store, failed.Record.Namespace, failed.Record.Key}
	}
	return told
}

func calls(ctx context.Context, state *keepstate.State) error {
	first, err := state.Put(ctx, "a", []byte("\x00\xff"), keepstate.TTL(time.Hour))
	if err != nil {
		return err
	}
	record, err := state.Get(ctx, "a")
	if err != nil {
		return err
	}
	second, err := state.Put(ctx, "a", nil, keepstate.IfEtag(first))
	if err != nil {
		return err
	}
	_, conflict := state.Put(ctx, "a", nil, keepstate.IfEtag(first))
	large, err := largeBatch(ctx, state)
	if err != nil {
		return err
	}
	return printed(map[string]any{
		"value": record.Value, "etag": record.Etag == first, "expires": !record.ExpireTime.IsZero(),
		"conflict": failure(conflict), "second": second, "is a conflict": errors.Is(conflict, keepstate.ErrConflict),
		"large batch": large,
	})
}

// LargeBatch writes 15 MiB in one message, and tells how many of its values are read as they were written.
func largeBatch(ctx context.Context, state *keepstate.State) (int, error) {
	var puts []keepstate.Operation
	value := func(number int) []byte { return bytes.Repeat([]byte{byte(number)}, 1<<20) }
	for number := range 15 {
		puts = append(puts, keepstate.Put(fmt.Sprint("large", number), value(number)))
	}
	results, err := state.Batch(ctx, puts...)
	if err != nil {
		return 0, err
	}
	read := 0
	for number, result := range results {
		if result.Err != nil {
			return 0, result.Err
		}
		record, err := state.Get(ctx, fmt.Sprint("large", number))
		if err != nil {
			return 0, err
		}
		if bytes.Equal(record.Value, value(number)) {
			read++
		}
	}
	return read, nil
}

func once(ctx context.Context, state *keepstate.State) error {
	_, read := state.Get(ctx, "a")
	_, written := state.Put(ctx, "a", nil)
	return printed(map[string]any{"read": failure(read), "written": failure(written)})
}

func count(ctx context.Context, state *keepstate.State) error {
	over := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(over)
	}()
	for number := 0; ; number++ {
		select {
		case <-over:
			return nil
		default:
		}
		updated, err := state.Increment(ctx, fmt.Sprint("n", number), 1)
		if err != nil {
			return err
		}
		fmt.Printf("%s\n", updated.Record.Value)
	}
}
