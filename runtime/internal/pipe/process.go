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

// kindTask is the kind of the children of this package.
const kindTask = "task"

// A Config describes a child to start.
type Config struct {
	Queue    string
	Instance backend.Instance // the one that the child's App shall be, too
	Memory   int64            // its limit in bytes; 0: none
	Parent   Parent
	Causes   Causes
	Logs     slog.Handler // of the child's records
	Errors   *slog.Logger // of what fails in the parent's ports
}

// Data is what a child is told of the App that started it.
type Data struct {
	Instance backend.Instance `json:"instance"`
	Backend  string           `json:"backend"`
	Number   uint64           `json:"number"` // of this child, for the ids of its calls
	Level    slog.Level       `json:"level"`  // of what is logged
}

// A Task is one attempt at a task, on its way to the child that makes it.
type Task struct {
	ID      string          `json:"id"`
	Queue   string          `json:"queue"`
	Attempt int             `json:"attempt"`
	Fence   int64           `json:"fence"`
	Source  string          `json:"source,omitempty"`
	Trace   string          `json:"trace,omitempty"`
	Payload json.RawMessage `json:"payload"`
	Left    time.Duration   `json:"left,omitempty"` // until it times out; 0: no limit

	// Done, unless it is nil, counts the subtasks of the task DoneOf: SubtasksDone shall run.
	Done   *backend.SubtaskCounts `json:"done,omitempty"`
	DoneOf string                 `json:"done_of,omitempty"`
}

// Children are the child processes of an App. The zero value is ready to use. Its methods are safe for concurrent use.
type Children struct {
	mu      sync.Mutex
	closed  bool
	running map[*Process]struct{}
	started atomic.Uint64
}

var errClosed = backend.NewError(backend.ErrUnavailable, "the instance is shutting down")

// Start starts a child whose records are logged in ctx. After an error there is no child, and the task can be tried
// again. The caller must call End for the child.
func (c *Children) Start(ctx context.Context, cfg Config) (*Process, error) {
	start := child.Config{
		Kind: kindTask, Name: cfg.Queue, Memory: cfg.Memory, Handle: serveChild(ctx, cfg),
		Data: Data{
			Instance: cfg.Instance, Backend: cfg.Parent.Ports().Name, Number: c.started.Add(1), Level: lowest(ctx, cfg.Logs),
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

// Close kills all children, and waits until they have been reaped. No more are started.
func (c *Children) Close() {
	c.mu.Lock()
	c.closed = true
	for p := range c.running {
		p.Kill()
		defer func() { <-p.Dead() }()
	}
	c.mu.Unlock()
}

// A Process is a child as its parent sees it.
type Process struct {
	*child.Process
	causes Causes
}

// Drain tells the child that the parent begins to shut down.
func (p *Process) Drain() { _ = p.Notify(noticeDrain, none{}) } // it fails only with the child

// Run has the child run a task and returns the result or the error of the handler. The child must be ready. When ctx
// ends the child is told the cause, and is ended if it doesn't reply within the times that end returns for the cause
// (see [child.End]).
//
// If the child has ended, the error is a *[child.ExitError]. If the task can't be sent or the result not be read, it is
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
	return nil, backend.Errorf(backend.ErrInternal, "running a task in a child process: %w", err)
}
