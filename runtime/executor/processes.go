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

// An ExitError is the error of an attempt whose child process exited. Get it with errors.As.
type ExitError = child.ExitError

// A Function is a function that can run in child processes. [Register] creates one.
type Function[A, R any] struct {
	name string
	fn   func(context.Context, A) (R, error)
	err  error
}

// serve handles requests of the parent for a registered function.
type serve func(r *child.Request)

// registered has the functions of this program. Parent and child both register them before main.
var registered struct {
	sync.Mutex
	byName map[string]serve
}

// Register registers fn by name for running in child processes. Call it to initialize a package-level variable: a child
// process must have registered fn when it calls [Main]. Start of the pool returns errors in the registration, such as a
// name that is already registered.
func Register[A, R any](name string, fn func(ctx context.Context, arg A) (R, error)) *Function[A, R] {
	f := &Function[A, R]{name: name, fn: fn}
	registered.Lock()
	defer registered.Unlock()
	switch _, twice := registered.byName[name]; {
	case name == "" || fn == nil:
		f.err = backend.Errorf(backend.ErrInvalidArgument, "Register(%q): empty name or nil function", name)
	case twice:
		f.err = backend.Errorf(backend.ErrAlreadyExists, "Register(%q): already registered", name)
	default:
		if registered.byName == nil {
			registered.byName = map[string]serve{}
		}
		registered.byName[name] = f.serve
	}
	return f
}

// childKind identifies the child processes of this package.
const (
	childKind = "executor"
	opRun     = "run"
	readyMost = time.Minute
)

// Main must be called first in main. In a child process of a pool it runs jobs and does not return. In any other
// process it does nothing. If main does not call it, a child process runs main up to Start of a pool of processes.
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
	select {} // the process exits when the parent closes the pipe
}

// serve runs one job, in a child process.
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
			os.Exit(2) // the parent has exited
		}
	}()
	var c call[A]
	if derr := exact.Unmarshal(r.Body, &c); derr != nil {
		err = backend.Errorf(backend.ErrInvalidArgument, "decoding the argument of %s: %w", f.name, derr)
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
		} // otherwise the timer of ctx ends it
	})()
	value, err = f.fn(ctx, c.Arg)
	checkError(err)
}

// A call is a job as it is sent to a child process.
type call[A any] struct {
	Arg  A             `json:"arg"`
	Left time.Duration `json:"left,omitempty"` // until the timeout; 0 for none
	Own  bool          `json:"own,omitempty"`  // the timeout is the pool's, not that of Start's context
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

// fault encodes an error for the pipe. unfault decodes it.
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

// cause decodes the cause of the end of a job's context, in the child process.
func cause(f *child.Fault) error {
	if f.Kind == causeShutdown {
		return ErrShutdown
	}
	return f.Err()
}

// Processes returns a pool that runs f in child processes of this program, one for each worker. They are started when
// needed. If an argument or a result can't be encoded to JSON, its job fails.
func Processes[A, R any](f *Function[A, R], opts ...Option) *Pool[A, R] {
	s := newSettings(opts)
	return newPool(s, &processes[A, R]{f: f, set: s})
}

// processes is the runner that calls a function in child processes.
type processes[A, R any] struct {
	f   *Function[A, R]
	set settings

	mu   sync.Mutex
	idle []*worker

	reaping context.CancelFunc
	reaped  sync.WaitGroup
}

// A worker is a child process with the number of jobs that it has run.
type worker struct {
	*child.Process
	jobs int
}

func (x *processes[A, R]) start() error {
	Main() // for a child process whose main didn't call it
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

// close kills all child processes, concurrently.
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
		err = backend.Errorf(backend.CodeOf(ctx.Err()), "job did not return after its context ended, process killed: %w",
			context.Cause(ctx))
	case ok:
		err = backend.Errorf(exit.Code(), "%w", exit)
	default:
		err = backend.Errorf(backend.ErrInvalidArgument, "encoding the argument or decoding the result of %s: %w",
			x.f.name, err)
	}
	return value, err
}

// take returns an idle child process, or starts one.
func (x *processes[A, R]) take(ctx context.Context) (*worker, error) {
	for {
		x.mu.Lock()
		if len(x.idle) == 0 {
			x.mu.Unlock()
			return x.spawn(ctx)
		}
		w := x.idle[len(x.idle)-1]
		x.idle = x.idle[:len(x.idle)-1]
		x.mu.Unlock()
		if !w.Gone() {
			return w, nil
		}
		w.Close() // it exited while idle
	}
}

func (x *processes[A, R]) put(w *worker) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.idle = append(x.idle, w)
}

// spawn starts a child process and waits until it is ready.
func (x *processes[A, R]) spawn(ctx context.Context) (*worker, error) {
	p, err := child.Start(child.Config{
		Kind: childKind, Name: x.f.name, Memory: x.set.memory, Handle: func(*child.Request) {},
	})
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
		return nil, backend.Errorf(backend.ErrInternal, "the child process was not ready: main must call executor.Main "+
			"first: %w", p.Exit())
	case <-ctx.Done():
		err = backend.Errorf(backend.CodeOf(ctx.Err()), "the child process was not ready: %w", context.Cause(ctx))
	case <-timer.C:
		err = backend.Errorf(backend.ErrFailedPrecondition, "the child process was not ready after %v: main must call "+
			"executor.Main first", readyMost)
	}
	p.Kill()
	<-p.Dead()
	return nil, err
}
