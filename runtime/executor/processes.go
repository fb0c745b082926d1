package executor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/child"
	"github.com/afgen/afgen/runtime/internal/exact"
)

// An ExitError is the end of a child process in the middle of a job: find it with errors.As.
type ExitError = child.ExitError

// A Function is a function that child processes can run, by its name.
type Function[A, R any] struct {
	name string
	fn   func(context.Context, A) (R, error)
	err  error
}

// serve runs a registered function for the parent.
type serve func(r *child.Request)

// registered are the functions of this program. They are registered before main, by both parent and child.
var registered struct {
	sync.Mutex
	byName map[string]serve
}

// Register makes fn one that child processes can run. It belongs into the initialization of a package-level variable: a
// child has only what was registered when it calls [Main]. What is wrong with it Start of its pool returns.
func Register[A, R any](name string, fn func(ctx context.Context, arg A) (R, error)) *Function[A, R] {
	f := &Function[A, R]{name: name, fn: fn}
	registered.Lock()
	defer registered.Unlock()
	switch _, twice := registered.byName[name]; {
	case name == "" || fn == nil:
		f.err = backend.Errorf(backend.ErrInvalidArgument, "Register(%q): it needs a name and a function", name)
	case twice:
		f.err = backend.Errorf(backend.ErrAlreadyExists, "Register(%q): there is such a function", name)
	default:
		if registered.byName == nil {
			registered.byName = map[string]serve{}
		}
		registered.byName[name] = f.serve
	}
	return f
}

// childKind marks the children of this package.
const (
	childKind = "executor"
	opRun     = "run"
	readyMost = time.Minute
)

// Main is for the first line of main: in a child process of a pool it runs the child's jobs, and doesn't return; in any
// other process it does nothing. Where main doesn't call it, a child runs main up to the Start of a pool of processes.
func Main() {
	self := child.Self()
	if self == nil || self.Kind != childKind {
		return
	}
	registered.Lock()
	f, ok := registered.byName[self.Name]
	registered.Unlock()
	if !ok {
		fmt.Fprintf(os.Stderr, "executor: no function %q was registered before executor.Main\n", self.Name)
		os.Exit(2)
	}
	if err := self.Ready(child.Handler(f)); err != nil {
		fmt.Fprintln(os.Stderr, "executor:", err)
		os.Exit(2)
	}
	select {} // the process ends with its parent's end of the pipe
}

// serve runs one job in a child.
func (f *Function[A, R]) serve(r *child.Request) {
	var value R
	err := error(errGoexit)
	defer func() {
		if v := recover(); v != nil {
			err = recovered(v)
		}
		if err != nil {
			err = fault(err)
		}
		if r.Reply(value, err) != nil {
			os.Exit(2) // the parent has gone
		}
	}()
	var c call[A]
	if derr := exact.Unmarshal(r.Body, &c); derr != nil {
		err = backend.Errorf(backend.ErrInvalidArgument, "the argument of %s does not decode: %w", f.name, derr)
		return
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if c.Left > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, c.Left, c.cause())
		defer stop()
	}
	defer context.AfterFunc(r.Context, func() {
		if f, ok := errors.AsType[*child.Fault](context.Cause(r.Context)); ok && f.Kind != causeTime {
			cancel(cause(f))
		} // else its own timer ends it
	})()
	value, err = f.fn(ctx, c.Arg)
	ask(err)
}

// A call is a job on its way to a child.
type call[A any] struct {
	Arg  A             `json:"arg"`
	Left time.Duration `json:"left,omitempty"` // until its time is up; 0 where there is no limit
	Own  bool          `json:"own,omitempty"`  // the limit is the pool's Timeout, not one of Start's context
}

func (c call[A]) cause() error {
	if c.Own {
		return ErrTimeout
	}
	return context.DeadlineExceeded
}

// The kinds of faults between a pool and its children.
const (
	faultPanic    = "panic"
	causeTime     = "time"
	causeShutdown = "shutdown"
)

// fault is an error as it crosses the pipe, unfault what arrives.
func fault(err error) *child.Fault {
	f := child.NewFault(err)
	switch p, ok := errors.AsType[*PanicError](err); {
	case ok:
		f.Kind, f.Message, f.Stack = faultPanic, fmt.Sprint(p.Value), string(p.Stack)
	case errors.Is(err, context.DeadlineExceeded):
		f.Kind = causeTime
	case errors.Is(err, ErrShutdown):
		f.Kind = causeShutdown
	}
	return f
}

func unfault(f *child.Fault) error {
	if f.Kind == faultPanic {
		return &PanicError{f.Message, []byte(f.Stack)}
	}
	return f.Err()
}

// cause is why a job's context ended, in the child.
func cause(f *child.Fault) error {
	if f.Kind == causeShutdown {
		return ErrShutdown
	}
	return f.Err()
}

// Processes returns a pool that runs f in child processes of this program, as many as there are workers, started when they
// are needed. An argument or result that doesn't encode to JSON fails its job.
func Processes[A, R any](f *Function[A, R], opts ...Option) *Pool[A, R] {
	s := newSettings(opts)
	return newPool(s, &processes[A, R]{f: f, set: s})
}

// processes runs a function in children.
type processes[A, R any] struct {
	f   *Function[A, R]
	set settings

	mu   sync.Mutex
	idle []*worker

	reaping context.CancelFunc
	reaped  sync.WaitGroup
}

// A worker is a child that has run some jobs.
type worker struct {
	*child.Process
	jobs int
}

func (x *processes[A, R]) start() error {
	Main() // in a child whose main didn't
	if x.f == nil {
		return backend.NewError(backend.ErrInvalidArgument, "Start: the function is nil")
	}
	if x.f.err != nil {
		return x.f.err
	}
	ctx, cancel := context.WithCancel(context.Background())
	x.reaping = cancel
	x.reaped.Go(func() { child.Reap(ctx) })
	return nil
}

func (x *processes[A, R]) kills() bool { return true }

// close ends the children, side by side.
func (x *processes[A, R]) close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, w := range x.idle {
		w.Kill()
	}
	for _, w := range x.idle {
		<-w.Dead()
	}
	x.idle = nil
	if x.reaping != nil {
		x.reaping()
		x.reaped.Wait()
	}
}

func (x *processes[A, R]) run(ctx context.Context, arg A) (value R, err error) {
	w, err := x.take(ctx)
	if err != nil {
		return value, err
	}
	reusable := false
	defer func() {
		if w.jobs++; reusable && w.jobs != x.set.recycle {
			x.put(w)
			return
		}
		w.Kill()
		<-w.Dead()
	}()
	c := call[A]{Arg: arg, Own: x.set.timeout != 0}
	if deadline, ok := ctx.Deadline(); ok {
		c.Left = max(time.Until(deadline), 1)
	}
	err = w.Do(ctx, opRun, c, &value, func(cause error) child.End {
		end := child.End{Fault: fault(cause), Grace: x.set.grace, Quit: child.QuitMost}
		if errors.Is(cause, ErrShutdown) {
			end.Quit /= 4
		}
		return end
	})
	if f, ok := errors.AsType[*child.Fault](err); ok {
		reusable = true
		return value, unfault(f)
	}
	exit, ok := errors.AsType[*child.ExitError](err)
	switch {
	case err == nil:
		reusable = true
	case ok && exit.Killed && ctx.Err() != nil:
		err = backend.Errorf(backend.CodeOf(ctx.Err()), "the job ignored the end of its context, and its process was killed: %w", context.Cause(ctx))
	case ok:
		err = backend.Errorf(exit.Code(), "%w", exit)
	default:
		err = backend.Errorf(backend.ErrInvalidArgument, "the argument of %s does not encode, or its result does not decode: %w", x.f.name, err)
	}
	return value, err
}

// take returns a child that waits for a job.
func (x *processes[A, R]) take(ctx context.Context) (*worker, error) {
	for {
		x.mu.Lock()
		if len(x.idle) == 0 {
			x.mu.Unlock()
			return x.hire(ctx)
		}
		w := x.idle[len(x.idle)-1]
		x.idle = x.idle[:len(x.idle)-1]
		x.mu.Unlock()
		if !w.Gone() {
			return w, nil
		}
		w.Close() // what a job had left running in it has ended it
	}
}

func (x *processes[A, R]) put(w *worker) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.idle = append(x.idle, w)
}

// hire starts a child and waits until it is ready.
func (x *processes[A, R]) hire(ctx context.Context) (*worker, error) {
	p, err := child.Start(child.Config{Kind: childKind, Name: x.f.name, Memory: x.set.memory, Handle: func(*child.Request) {}})
	if err != nil {
		return nil, backend.Errorf(backend.ErrUnavailable, "starting a child process: %w", err)
	}
	w := &worker{Process: p}
	timer := time.NewTimer(readyMost)
	defer timer.Stop()
	select {
	case <-p.Ready():
		return w, nil
	case <-p.Dead():
		return nil, backend.Errorf(backend.ErrInternal, "before it was ready (main must call executor.Main first): %w", p.Exit())
	case <-ctx.Done():
		err = backend.Errorf(backend.CodeOf(ctx.Err()), "the child process was not ready: %w", context.Cause(ctx))
	case <-timer.C:
		err = backend.Errorf(backend.ErrFailedPrecondition, "the child process was not ready after %v: main must call executor.Main first", readyMost)
	}
	p.Kill()
	<-p.Dead()
	return nil, err
}
