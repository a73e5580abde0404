// Command example has several workers share a list of jobs. Each job is claimed once, by whoever is first; a claim that its
// worker does not come back for expires, and then another may take the job over. A result and the count of what is done
// change together, and only while the claim still holds.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"sync"
	"time"

	keepstate "github.com/keepstate/keepstate/client/go"
)

const (
	workers = 4
	jobs    = 20
	// How long a worker may be busy with a job before others take it for dead.
	claimed = 30 * time.Second
	// How long the example's records stay.
	kept = time.Hour
)

// errLost is what a worker ends a job with that another has taken over.
var errLost = errors.New("the claim was lost")

func main() {
	address := "localhost:7400"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	if err := run(context.Background(), address); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	client, err := keepstate.New(address)
	if err != nil {
		return err
	}
	defer client.Close()
	// Of each run its own, so that it finds no claims of an earlier one.
	state := client.Namespace(fmt.Sprintf("jobs-%d", time.Now().UnixNano()))

	var group sync.WaitGroup
	failures := make([]error, workers)
	for worker := range workers {
		group.Go(func() { failures[worker] = work(ctx, state, worker) })
	}
	group.Wait()
	if err := errors.Join(failures...); err != nil {
		return err
	}
	return report(ctx, state)
}

// work goes through all jobs, and does those that nobody else has claimed.
func work(ctx context.Context, state *keepstate.State, worker int) error {
	for job := range jobs {
		claim, err := state.PutJSON(ctx, key("claim", job), worker, keepstate.IfAbsent(), keepstate.TTL(claimed))
		if errors.Is(err, keepstate.ErrAlreadyExists) {
			continue
		}
		if err != nil {
			return err
		}
		if err := finish(ctx, state, worker, job, claim); err != nil && !errors.Is(err, errLost) {
			return err
		}
	}
	return nil
}

// finish keeps a job's result and counts it, if the worker still has its claim.
func finish(ctx context.Context, state *keepstate.State, worker, job int, claim string) error {
	return state.Transaction(ctx, func(ctx context.Context, tx *keepstate.Transaction) error {
		found, err := tx.Get(ctx, key("claim", job)) // what is read must still hold when the rest is applied
		if errors.Is(err, keepstate.ErrNotFound) {
			return errLost
		}
		if err != nil {
			return err
		}
		if found.Etag != claim {
			return errLost
		}
		if err := tx.PutJSON(key("result", job), job*job, keepstate.TTL(kept)); err != nil {
			return err
		}
		if err := tx.Increment("done", 1, keepstate.TTL(kept)); err != nil {
			return err
		}
		return tx.Increment(key("done-by", worker), 1, keepstate.TTL(kept))
	})
}

// report says who did how much, all as of one moment.
func report(ctx context.Context, state *keepstate.State) error {
	gets := []keepstate.Operation{keepstate.Get("done")}
	for worker := range workers {
		gets = append(gets, keepstate.Get(key("done-by", worker)))
	}
	counts, err := state.Snapshot(ctx, gets...)
	if err != nil {
		return err
	}
	numbers := make([]int, len(counts))
	for index, count := range counts {
		if count == nil {
			continue // a worker that was never first
		}
		if err := count.DecodeJSON(&numbers[index]); err != nil {
			return err
		}
	}
	for worker, number := range numbers[1:] {
		fmt.Printf("worker %d did %d\n", worker, number)
	}
	fmt.Printf("%d of %d jobs are done, each of them once\n", numbers[0], jobs)
	return nil
}

func key(kind string, number int) string { return fmt.Sprintf("%s:%d", kind, number) }
