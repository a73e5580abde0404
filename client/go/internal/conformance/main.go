// Command conformance makes the calls that the conformance suite tells it, with the client. What the lines say is in
// docs/clients/conformance.md.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	keepstate "github.com/keepstate/keepstate/client/go"
)

// client is one that the suite has named.
type client struct {
	*keepstate.Client
	// view is what its namespace and store make of it.
	view *keepstate.State
}

// program is what is under way.
type program struct {
	output io.Writer

	mu      sync.Mutex
	clients map[string]client
	cancels map[int64]context.CancelFunc
	resumes map[int64]chan struct{}
}

func main() {
	it := &program{
		output:  os.Stdout,
		clients: map[string]client{},
		cancels: map[int64]context.CancelFunc{},
		resumes: map[int64]chan struct{}{},
	}
	if err := it.run(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run performs the command of each line, until the end.
func (p *program) run(input io.Reader) error {
	var calls sync.WaitGroup
	lines := bufio.NewReader(input)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		var asked command
		if err := json.Unmarshal(line, &asked); err != nil {
			return fmt.Errorf("no command: %w", err)
		}
		p.begin(&asked, &calls)
	}
	for _, each := range p.clients {
		_ = each.Close()
	}
	calls.Wait()
	return nil
}

// begin begins a command. What later commands count on is done before the next line is read.
func (p *program) begin(asked *command, calls *sync.WaitGroup) {
	switch asked.Do {
	case "hello":
		p.answer(asked.ID, fields{"language": "go", "version": keepstate.Version}, nil)
	case "connect":
		p.answer(asked.ID, fields{}, p.connect(asked))
	case "close":
		p.answer(asked.ID, fields{}, p.clients[asked.Client].Close())
		delete(p.clients, asked.Client)
	case "cancel":
		p.mu.Lock()
		if cancel := p.cancels[asked.Call]; cancel != nil {
			cancel()
		}
		p.mu.Unlock()
		p.answer(asked.ID, fields{}, nil)
	case "resume":
		p.mu.Lock()
		close(p.resumes[asked.Call])
		p.mu.Unlock()
		p.answer(asked.ID, fields{}, nil)
	default:
		ctx, cancel := context.WithCancel(context.Background())
		p.mu.Lock()
		p.cancels[asked.ID] = cancel
		p.resumes[asked.ID] = make(chan struct{})
		p.mu.Unlock()
		by := p.clients[asked.Client]
		calls.Go(func() {
			defer cancel()
			if asked.TimeoutMs != nil {
				ctx, cancel = context.WithTimeout(ctx, time.Duration(*asked.TimeoutMs)*time.Millisecond)
				defer cancel()
			}
			done, err := p.perform(ctx, by, asked)
			p.mu.Lock()
			delete(p.cancels, asked.ID)
			delete(p.resumes, asked.ID)
			p.mu.Unlock()
			p.answer(asked.ID, done, err)
		})
	}
}

func (p *program) connect(asked *command) error {
	options := []keepstate.Option{}
	if asked.TimeoutMs != nil {
		options = append(options, keepstate.WithTimeout(time.Duration(*asked.TimeoutMs)*time.Millisecond))
	}
	if asked.Retry != nil && !*asked.Retry {
		options = append(options, keepstate.WithoutRetry())
	}
	if asked.Token != nil {
		options = append(options, keepstate.WithToken(*asked.Token))
	}
	if asked.Metadata != nil {
		options = append(options, keepstate.WithMetadata(asked.Metadata))
	}
	if files := asked.TLS; files != nil {
		options = append(options, keepstate.WithTLS(keepstate.TLS{
			CA: files.CA, ClientCert: files.ClientCert, ClientKey: files.ClientKey, ServerName: files.ServerName,
		}))
	}
	made, err := keepstate.New(asked.Address, options...)
	if err != nil {
		return err
	}
	p.clients[asked.Client] = client{made, within(made.State, asked)}
	return nil
}

// within is the view of a command that names a namespace or a store.
func within(view *keepstate.State, asked *command) *keepstate.State {
	if asked.Namespace != nil {
		view = view.Namespace(*asked.Namespace)
	}
	if asked.Store != nil {
		view = view.Store(*asked.Store)
	}
	return view
}

func (p *program) answer(id int64, done fields, err error) {
	if err != nil {
		p.write(fields{"id": id, "error": answerOfError(err)})
		return
	}
	p.write(fields{"id": id, "ok": done})
}

func (p *program) write(line fields) {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err) // of what this program has made itself
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = p.output.Write(append(text, '\n'))
}
