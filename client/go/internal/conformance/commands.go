package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	keepstate "github.com/keepstate/keepstate/client/go"
)

// command is what the suite asks for.
type command struct {
	ID     int64  `json:"id"`
	Do     string `json:"do"`
	Client string `json:"client"`

	Key         string     `json:"key"`
	Namespace   *string    `json:"namespace"`
	Store       *string    `json:"store"`
	Value       []byte     `json:"value"`
	ContentType *string    `json:"content_type"`
	IfAbsent    bool       `json:"if_absent"`
	IfExists    bool       `json:"if_exists"`
	IfEtag      *string    `json:"if_etag"`
	TTLMs       *int64     `json:"ttl_ms"`
	ExpireTime  *time.Time `json:"expire_time"`
	KeepExpiry  bool       `json:"keep_expiry"`
	SlideTTLMs  *int64     `json:"slide_ttl_ms"`
	Consistency string     `json:"consistency"`
	TimeoutMs   *int64     `json:"timeout_ms"`

	Delta     number   `json:"delta"`
	Initial   *number  `json:"initial"`
	Minimum   *number  `json:"minimum"`
	Maximum   *number  `json:"maximum"`
	Items     [][]byte `json:"items"`
	MaxLength *int32   `json:"max_length"`
	Patch     []byte   `json:"patch"`

	Operations []command `json:"operations"`
	Checks     []command `json:"checks"`
	Puts       []command `json:"puts"`
	Deletes    []command `json:"deletes"`
	Updates    []command `json:"updates"`
	Names      []command `json:"names"`
	Steps      []command `json:"steps"`
	Late       *command  `json:"late"`
	Tries      *int      `json:"tries"`
	Name       string    `json:"name"`
	Call       int64     `json:"call"`

	Address  string            `json:"address"`
	Retry    *bool             `json:"retry"`
	Token    *string           `json:"token"`
	Metadata map[string]string `json:"metadata"`
	TLS      *struct {
		CA         string `json:"ca"`
		ClientCert string `json:"client_cert"`
		ClientKey  string `json:"client_key"`
		ServerName string `json:"server_name"`
	} `json:"tls"`
}

// number is one of 64 bits, in decimal text.
type number struct {
	value int64
	// err is why it is none: the client's types cannot say it.
	err error
}

// UnmarshalJSON takes text that is no such number for one that cannot be sent, not for the end of the input.
func (n *number) UnmarshalJSON(text []byte) error {
	var decimal string
	if err := json.Unmarshal(text, &decimal); err != nil {
		return err
	}
	if n.value, n.err = strconv.ParseInt(decimal, 10, 64); n.err != nil {
		n.err = fmt.Errorf("%w: %w", keepstate.ErrUsage, n.err)
	}
	return nil
}

// sayable tells whether the client's types can say the command's numbers.
func (c *command) sayable() error {
	for _, each := range []*number{&c.Delta, c.Initial, c.Minimum, c.Maximum} {
		if each != nil && each.err != nil {
			return each.err
		}
	}
	return nil
}

// options are those of an operation, without its name's.
func (c *command) options() []keepstate.OpOption {
	var options []keepstate.OpOption
	give := func(given bool, option func() keepstate.OpOption) {
		if given {
			options = append(options, option())
		}
	}
	give(c.IfAbsent, keepstate.IfAbsent)
	give(c.IfExists, keepstate.IfExists)
	give(c.IfEtag != nil, func() keepstate.OpOption { return keepstate.IfEtag(*c.IfEtag) })
	give(c.TTLMs != nil, func() keepstate.OpOption { return keepstate.TTL(milliseconds(*c.TTLMs)) })
	give(c.ExpireTime != nil, func() keepstate.OpOption { return keepstate.ExpireAt(*c.ExpireTime) })
	give(c.KeepExpiry, keepstate.KeepExpiry)
	give(c.Do == "touch" && c.TTLMs == nil && c.ExpireTime == nil, keepstate.Never)
	give(c.SlideTTLMs != nil, func() keepstate.OpOption { return keepstate.SlideTTL(milliseconds(*c.SlideTTLMs)) })
	give(c.ContentType != nil, func() keepstate.OpOption { return keepstate.ContentType(*c.ContentType) })
	give(c.Consistency == "strong", keepstate.Strong)
	give(c.Consistency == "eventual", keepstate.Eventual)
	give(c.Initial != nil, func() keepstate.OpOption { return keepstate.Initial(c.Initial.value) })
	give(c.Minimum != nil, func() keepstate.OpOption { return keepstate.Minimum(c.Minimum.value) })
	give(c.Maximum != nil, func() keepstate.OpOption { return keepstate.Maximum(c.Maximum.value) })
	give(c.MaxLength != nil, func() keepstate.OpOption { return keepstate.MaxLength(*c.MaxLength) })
	return options
}

// place names the record's namespace and store, where they are not the view's.
func (c *command) place() []keepstate.OpOption {
	var options []keepstate.OpOption
	if c.Namespace != nil {
		options = append(options, keepstate.InNamespace(*c.Namespace))
	}
	if c.Store != nil {
		options = append(options, keepstate.InStore(*c.Store))
	}
	return options
}

func milliseconds(number int64) time.Duration { return time.Duration(number) * time.Millisecond }

func (c *command) items() []any {
	items := make([]any, len(c.Items))
	for index, item := range c.Items {
		items[index] = json.RawMessage(item)
	}
	return items
}

// operation is what the command asks for as a part of a batch or a transaction.
func (c *command) operation(do string) (keepstate.Operation, error) {
	options := append(c.options(), c.place()...)
	if err := c.sayable(); err != nil {
		return keepstate.Operation{}, err
	}
	switch do {
	case "get":
		return keepstate.Get(c.Key, options...), nil
	case "put":
		return keepstate.Put(c.Key, c.Value, options...), nil
	case "delete":
		return keepstate.Delete(c.Key, options...), nil
	case "touch":
		return keepstate.Touch(c.Key, options...), nil
	case "increment":
		return keepstate.Increment(c.Key, c.Delta.value, options...), nil
	case "append":
		return keepstate.Append(c.Key, c.items(), options...), nil
	case "merge_patch":
		return keepstate.MergePatch(c.Key, json.RawMessage(c.Patch), options...), nil
	case "check":
		if len(c.options()) == 0 {
			return keepstate.Operation{}, fmt.Errorf("a check without a condition: %w", keepstate.ErrUsage)
		}
		return keepstate.Check(c.Key, options[0], options[1:]...), nil
	}
	return keepstate.Operation{}, fmt.Errorf("no operation %q", do)
}

func operations(do string, commands []command) ([]keepstate.Operation, error) {
	var all []keepstate.Operation
	for index := range commands {
		kind := do
		if kind == "" {
			kind = commands[index].Do
		}
		operation, err := commands[index].operation(kind)
		if err != nil {
			return nil, err
		}
		all = append(all, operation)
	}
	return all, nil
}

// perform makes the call that a command asks for.
func (p *program) perform(ctx context.Context, by client, c *command) (fields, error) {
	view, options := within(by.view, c), c.options()
	if err := c.sayable(); err != nil {
		return nil, err
	}
	switch c.Do {
	case "get":
		record, err := view.Get(ctx, c.Key, options...)
		return foundOrMissing(record, err)
	case "put":
		etag, err := view.Put(ctx, c.Key, c.Value, options...)
		return fields{"etag": etag}, err
	case "delete":
		existed, err := view.Delete(ctx, c.Key, options...)
		return fields{"existed": existed}, err
	case "touch":
		etag, expires, err := view.Touch(ctx, c.Key, options...)
		return fields{"etag": etag, "expire_time": answerOfTime(expires)}, err
	case "increment":
		updated, err := view.Increment(ctx, c.Key, c.Delta.value, options...)
		return answerOfUpdate(updated.Record, updated.Repeated), err
	case "append":
		updated, err := view.Append(ctx, c.Key, c.items(), options...)
		return answerOfUpdate(updated.Record, updated.Repeated), err
	case "merge_patch":
		updated, err := view.MergePatch(ctx, c.Key, json.RawMessage(c.Patch), options...)
		return answerOfUpdate(updated.Record, updated.Repeated), err
	case "batch":
		return batch(ctx, by.view, c)
	case "transact":
		return transact(ctx, by.view, c)
	case "transaction":
		return p.transaction(ctx, by.view, c)
	case "snapshot":
		gets, err := operations("get", c.Names)
		if err != nil {
			return nil, err
		}
		records, err := by.view.Snapshot(ctx, gets...)
		return fields{"records": answersOf(records, answerOfRecord)}, err
	case "store":
		name := ""
		if c.Store != nil {
			name = *c.Store
		}
		info, err := by.StoreInfo(ctx, name)
		return answerOfStore(info), err
	case "stores":
		infos, err := by.Stores(ctx)
		return fields{"stores": answersOf(infos, answerOfStore)}, err
	}
	return nil, fmt.Errorf("no command %q", c.Do)
}

func batch(ctx context.Context, view *keepstate.State, c *command) (fields, error) {
	asked, err := operations("", c.Operations)
	if err != nil {
		return nil, err
	}
	results, err := view.Batch(ctx, asked...)
	if err != nil {
		return nil, err
	}
	answers := make([]fields, len(results))
	for index, result := range results {
		done, err := answerOfResult(c.Operations[index].Do, result)
		if err != nil {
			answers[index] = fields{"error": answerOfError(err)}
		} else {
			answers[index] = fields{"ok": done}
		}
	}
	return fields{"results": answers}, nil
}

func transact(ctx context.Context, view *keepstate.State, c *command) (fields, error) {
	var asked []keepstate.Operation
	for _, list := range []struct {
		do       string
		commands []command
	}{{"check", c.Checks}, {"put", c.Puts}, {"delete", c.Deletes}, {"", c.Updates}} {
		some, err := operations(list.do, list.commands)
		if err != nil {
			return nil, err
		}
		asked = append(asked, some...)
	}
	results, err := view.Transact(ctx, asked...)
	if err != nil {
		return nil, err
	}
	results = results[len(c.Checks):]
	answers := func(do string, count int) []fields {
		var some []fields
		for _, result := range results[:count] {
			done, _ := answerOfResult(do, result) // a transaction's results have no errors of their own
			some = append(some, done)
		}
		results = results[count:]
		return some
	}
	return fields{
		"puts": answers("put", len(c.Puts)), "deletes": answers("delete", len(c.Deletes)),
		"updates": answers("increment", len(c.Updates)),
	}, nil
}
