package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	keepstate "github.com/keepstate/keepstate/client/go"
)

// errRaised is what the function of a transaction raises itself.
var errRaised = errors.New("the function's own error")

func (p *program) transaction(ctx context.Context, view *keepstate.State, c *command) (fields, error) {
	var options []keepstate.TransactionOption
	if c.Tries != nil {
		options = append(options, keepstate.Tries(*c.Tries))
	}
	runs, reads := 0, []fields{}
	var last *keepstate.Transaction
	err := view.Transaction(ctx, func(ctx context.Context, tx *keepstate.Transaction) error {
		runs++
		reads, last = []fields{}, tx
		for index := range c.Steps {
			step := &c.Steps[index]
			if step.Do == "pause" {
				if err := p.pause(ctx, c.ID, step.Name, runs); err != nil {
					return err
				}
			} else if err := perform(ctx, tx, step, &reads); err != nil {
				return err
			}
		}
		return nil
	}, options...)
	if err == nil && c.Late != nil {
		err = perform(ctx, last, c.Late, &[]fields{})
	}
	return fields{"reads": reads, "runs": runs}, err
}

// pause waits for the suite, in the first run.
func (p *program) pause(ctx context.Context, call int64, name string, run int) error {
	if run > 1 {
		return nil
	}
	p.mu.Lock()
	resumed := p.resumes[call]
	p.mu.Unlock()
	p.write(fields{"id": call, "paused": name, "run": run})
	select {
	case <-resumed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// perform does one step of a transaction's function.
func perform(ctx context.Context, tx *keepstate.Transaction, step *command, reads *[]fields) error {
	if step.Namespace != nil {
		tx = tx.Namespace(*step.Namespace)
	}
	if step.Store != nil {
		tx = tx.Store(*step.Store)
	}
	options := step.options()
	if err := step.sayable(); err != nil {
		return err
	}
	switch step.Do {
	case "get":
		found, err := tx.Get(ctx, step.Key, options...)
		done, err := foundOrMissing(found, err)
		if err == nil {
			record, _ := done["record"].(fields)
			*reads = append(*reads, record)
		}
		return err
	case "put":
		return tx.Put(step.Key, step.Value, options...)
	case "delete":
		return tx.Delete(step.Key, options...)
	case "increment":
		return tx.Increment(step.Key, step.Delta.value, options...)
	case "append":
		return tx.Append(step.Key, step.items(), options...)
	case "merge_patch":
		return tx.MergePatch(step.Key, json.RawMessage(step.Patch), options...)
	case "add":
		return add(ctx, tx, step)
	case "fail":
		return errRaised
	}
	return fmt.Errorf("no step %q", step.Do)
}

// add reads a number, 0 if there is none, and puts the sum.
func add(ctx context.Context, tx *keepstate.Transaction, step *command) error {
	number := int64(0)
	found, err := tx.Get(ctx, step.Key)
	switch {
	case errors.Is(err, keepstate.ErrNotFound):
	case err != nil:
		return err
	default:
		if number, err = strconv.ParseInt(string(found.Value), 10, 64); err != nil {
			return err
		}
	}
	return tx.PutJSON(step.Key, number+step.Delta.value)
}
