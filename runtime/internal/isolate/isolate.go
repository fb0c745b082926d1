// Package isolate runs tasks in child processes, one each.
//
// [Children.Run] starts this program again, waits until its main has called Start of the App with the task's worker,
// has the task run there (package pipe), and tells what an exit of the process means for the attempt: it failed, it
// is run again without being charged because the instance is shutting down, or its handler ignored the end of its
// context.
package isolate

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/child"
	"github.com/afgen/afgen/runtime/internal/grace"
	"github.com/afgen/afgen/runtime/internal/guard"
	"github.com/afgen/afgen/runtime/internal/pipe"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/stack"
)

// readyMost is how long a child process may take until main calls Start.
const readyMost = time.Minute

// A Config configures Children.
type Config struct {
	Instance backend.Instance // the parent's
	Memory   int64            // limit of each process, in bytes; 0 means none
	Grace    time.Duration    // how long a handler may run after its context has ended
	Parent   pipe.Parent
	Causes   pipe.Causes
	Draining <-chan struct{} // closed when the App begins to shut down
	Handler  string          // the name of the function that is on the stack of a handler (package stack)
	Log      *slog.Logger
}

// Children are the child processes of an App. Its methods are safe for concurrent use.
type Children struct {
	Config
	children pipe.Children
}

// New returns Children. Close must be called at the end.
func New(c Config) *Children { return &Children{Config: c} }

// Close kills all child processes and waits until they have been reaped. No more are started.
func (c *Children) Close() { c.children.Close() }

// Run runs a task in a new child process, which has been reaped when Run returns. log is that of the attempt, and
// errorLog returns the one for texts that must not be stored with the task.
func (c *Children) Run(
	ctx context.Context, t pipe.Task, log *slog.Logger, errorLog func(context.Context) *slog.Logger,
) (json.RawMessage, error) {
	p, err := c.children.Start(ctx, pipe.Config{
		Queue: t.Queue, Instance: c.Instance, Memory: c.Memory, Parent: c.Parent, Causes: c.Causes,
		Logs: log.Handler(), Errors: c.Log,
	})
	if err != nil { // not a failure of the worker, so no attempt is charged
		log.Warn("could not start a child process, task snoozed", "error", err)
		return nil, guard.Snooze(retry.MaxPoll)
	}
	defer c.children.End(p)

	begin := time.NewTimer(readyMost)
	defer begin.Stop()
	select {
	case <-p.Ready():
	case <-p.Dead():
		if p.Exit().Terminated && c.drainsSoon() {
			return nil, guard.Snooze(0)
		}
		return nil, crashed(p.Exit(), "the child process did not begin its task: main must call Start or Run "+
			"of the App with this worker")
	case <-ctx.Done():
		p.Kill()
		return nil, backend.Errorf(backend.CodeOf(ctx.Err()), "the child process did not begin its task: %w",
			context.Cause(ctx))
	case <-begin.C:
		p.Quit(child.QuitMost)
		return nil, backend.Errorf(backend.ErrFailedPrecondition, "the child process did not begin its task within %v: main "+
			"must call Start or Run of the App with this worker, also in a child process; %w", readyMost, p.Exit())
	}
	go func() {
		select {
		case <-c.Draining:
			p.Drain()
		case <-p.Dead():
		}
	}()
	if deadline, ok := ctx.Deadline(); ok {
		t.Left = max(time.Until(deadline), 1)
	}
	result, err := p.Run(ctx, t, c.end)
	exit, ended := errors.AsType[*child.ExitError](err)
	switch {
	case !ended:
		return result, err
	case exit.Killed && ctx.Err() != nil:
		c.logHung(errorLog(ctx), context.Cause(ctx), p, exit)
		return nil, backend.Errorf(backend.CodeOf(ctx.Err()),
			"handler did not return after its context ended, process killed: %w", context.Cause(ctx))
	case exit.Terminated && c.drainsSoon():
		return nil, guard.Snooze(0)
	}
	return nil, crashed(exit, "")
}

// end returns how long a child process may run after its context has ended with a cause, and how long it may then
// take to write its stacks.
func (c *Children) end(cause error) (end, quit time.Duration) {
	end, quit = c.Grace, child.QuitMost
	switch {
	case errors.Is(cause, c.Causes.Shutdown): // Shutdown abandons it after grace.Abandon
		end, quit = min(end, grace.Abandon/2), grace.Abandon/4
	case errors.Is(cause, c.Causes.LeaseLost): // the task may soon run on another instance
		end, quit = 0, 0
	}
	return end, quit
}

// logHung logs that a child process was killed, with the stack of its handler if the process has written it.
func (c *Children) logHung(log *slog.Logger, cause error, p *pipe.Process, exit *child.ExitError) {
	where := stack.Running(p.Stderr(), c.Handler)
	if where == "" {
		where = exit.Stderr
	}
	log.Error("handler did not return after its context ended, process killed", "cause", cause, "stack", where)
}

// drainsSoon reports whether the App is draining or begins to within a second. A SIGTERM that a supervisor sends to all
// processes of a service may reach a child before its parent.
func (c *Children) drainsSoon() bool {
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-c.Draining:
		return true
	case <-timer.C:
		return false
	}
}

// crashed returns the error of an attempt whose child process exited unexpectedly.
func crashed(exit *child.ExitError, when string) error {
	if when != "" {
		return backend.Errorf(exit.Code(), "%s: %w", when, exit)
	}
	return backend.Errorf(exit.Code(), "%w", exit)
}
