package pipe

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/child"
)

// kindTask is the kind of this package's children.
const kindTask = "task"

// A Config describes a child to start.
type Config struct {
	Queue    string
	Instance backend.Instance // the parent's instance, which the child's App represents
	Memory   int64            // limit in bytes; 0 means none
	Parent   Parent
	Causes   Causes
	Logs     slog.Handler // for the child's records
	Errors   *slog.Logger // for errors of the parent's ports
}

// Data is the parent's App as sent to the child.
type Data struct {
	Instance backend.Instance `json:"instance"`
	Backend  string           `json:"backend"`
	Location string           `json:"location,omitempty"` // of the backend
	Number   uint64           `json:"number"`             // of this child, for the ids of its calls
	Level    slog.Level       `json:"level"`              // minimum level of its log
}

// A Task is one attempt at a task as sent to the child.
type Task struct {
	ID       string            `json:"id"`
	Queue    string            `json:"queue"`
	Attempt  int               `json:"attempt"`
	Fence    int64             `json:"fence"`
	Source   string            `json:"source,omitempty"`
	Trace    string            `json:"trace,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Carrier  map[string]string `json:"carrier,omitempty"` // what the parent's instruments inject
	Payload  json.RawMessage   `json:"payload"`
	Left     time.Duration     `json:"left,omitempty"` // until it times out; 0 means no limit
	Last     bool              `json:"last,omitempty"` // it fails if this attempt does

	// Done counts the subtasks of the task DoneOf, if that isn't empty; then SubtasksDone runs.
	Done   *backend.SubtaskCounts `json:"done,omitempty"`
	DoneOf string                 `json:"done_of,omitempty"`
}

// Children are the child processes of an App. The zero value is ready to use. Its methods are safe for concurrent
// use.
type Children struct {
	mu      sync.Mutex
	closed  bool
	running map[*Process]struct{}
	started atomic.Uint64
}

var errClosed = backend.NewError(backend.ErrUnavailable, "the instance is shutting down")

// Start starts a child and logs its records in ctx. After an error there is no child, and the task can be retried.
// The caller must call End for the child.
func (c *Children) Start(ctx context.Context, cfg Config) (*Process, error) {
	start := child.Config{
		Kind: kindTask, Name: cfg.Queue, Memory: cfg.Memory, Handle: serveChild(ctx, cfg),
		Data: Data{
			Instance: cfg.Instance, Backend: cfg.Parent.Ports().Name, Location: cfg.Parent.Ports().Location,
			Number: c.started.Add(1), Level: lowest(ctx, cfg.Logs),
		},
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	started, err := child.Start(start)
	if err != nil {
		return nil, err
	}
	if c.running == nil {
		c.running = map[*Process]struct{}{}
	}
	p := &Process{started, cfg.Causes}
	c.running[p] = struct{}{}
	return p, nil
}

// End ends a child and waits until it has been reaped.
func (c *Children) End(p *Process) {
	p.Close()
	c.mu.Lock()
	delete(c.running, p)
	c.mu.Unlock()
}

// Close kills all children and waits until they have been reaped. Later calls of Start fail.
func (c *Children) Close() {
	c.mu.Lock()
	c.closed = true
	for p := range c.running {
		p.Kill()
		defer func() { <-p.Dead() }()
	}
	c.mu.Unlock()
}

// A Process is a child as seen by its parent.
type Process struct {
	*child.Process
	causes Causes
}

// Drain tells the child that the parent is shutting down.
func (p *Process) Drain() { _ = p.Notify(noticeDrain, none{}) } // fails only if the child is gone

// Run runs a task in the child and returns the handler's result or error. The child must be ready. When ctx ends, the
// child receives the cause. It is ended if it doesn't reply within the times that end returns for the cause (see
// [child.End]).
//
// If the child exits, the error is a *[child.ExitError]. If the task can't be sent or the result not be read, it is
// ErrInternal.
func (p *Process) Run(
	ctx context.Context, t Task, end func(cause error) (grace, quit time.Duration),
) (json.RawMessage, error) {
	var result json.RawMessage
	err := p.Do(ctx, opRun, t, &result, func(cause error) child.End {
		grace, quit := end(cause)
		return child.End{Fault: p.causes.fault(cause), Grace: grace, Quit: quit}
	})
	if err == nil {
		return result, nil
	}
	if fault, ok := errors.AsType[*child.Fault](err); ok {
		return nil, taskError(fault)
	}
	if exit, ok := errors.AsType[*child.ExitError](err); ok {
		return nil, exit
	}
	return nil, backend.Errorf(backend.ErrInternal, "run task in a child process: %w", err)
}
