package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/child"
	"github.com/afgen/afgen/runtime/internal/guard"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/stack"
)

// A task of a worker with isolation=process, from end to end: its attempt (attempt.go) calls WorkerSpec.Run, which here is
// runChild. That starts this program again (package child). There Open finds the mark and gives an App on a pipe
// (isolate_child.go), whose ports pass everything on to the parent's (isolate_pipe.go, isolate_ports.go), as its logger does
// (isolate_log.go). Start takes the task from the pipe and runs it with the worker that was registered, and the process ends.

// ChildMemory limits the memory of each child process that runs a task of a worker with isolation=process, in bytes. On
// Linux what it may write to is limited by the kernel, besides that of each process it starts; elsewhere, and before that
// limit is reached, the garbage collector works harder (GOMEMLIMIT is nine tenths of it). Without it, or with 0, nothing
// is limited. A Go program needs 64 MiB to be of much use. In a program built with -race the kernel's limit can't be met.
func ChildMemory(bytes int64) AppOption {
	return func(s *settings) { s.child.memory = max(bytes, 0) }
}

// ChildGrace sets how long a handler in a child process may take to return once its context has ended; then its process is
// killed, on Unix by SIGQUIT first, so that it writes its stacks to stderr. Without it, 5 s. When the claim was lost or the
// instance shuts down it is a second at most.
func ChildGrace(d time.Duration) AppOption {
	return func(s *settings) { s.child.grace = max(d, 0) }
}

// InProcess runs the tasks of workers with isolation=process in goroutines, as those of any other: for tests, whose binary
// has no main to run again, and in whose virtual time a process would not live.
func InProcess() AppOption {
	return func(s *settings) { s.child.off = true }
}

// A process is what an App does differently in a child process than in a process of its own. Open decides which it is.
type process interface {
	parent
	start(ctx context.Context) error
	run(ctx context.Context) error
	shutdown(ctx context.Context) error
	logger(ctx context.Context, h *handling) *slog.Logger // with what ctx knows
}

// ownProcess is the process of an App that no other App has started.
type ownProcess struct{ app *App }

func (p ownProcess) Ports() *backend.Ports { return p.app.ports }

func (p ownProcess) Wake(queue string, ids []string) {
	e := p.app.tasks
	e.hints.add(queue, ids, e.ports.Transport.Ids())
	e.hints.signal()
}

func (p ownProcess) StopTasks(ctx context.Context, s backend.Stop) error {
	return p.app.tasks.stopAndTell(ctx, s)
}

func (p ownProcess) WaitTask(ctx context.Context, id, by string) (Task, error) {
	return p.app.tasks.wait(ctx, id, by)
}

func (p ownProcess) logger(ctx context.Context, h *handling) *slog.Logger {
	return slog.New(h.contextHandler().bind(ctx, h))
}

type childSettings struct {
	memory int64
	grace  time.Duration
	off    bool
}

const (
	childTask      = "task" // the kind of child
	opRun          = "run"
	childGrace     = 5 * time.Second
	childReadyMost = time.Minute // for main to get to Start
)

// childData is what a child is told of the App that started it.
type childData struct {
	Instance Instance   `json:"instance"`
	Backend  string     `json:"backend"`
	Number   uint64     `json:"number"` // of this child, for the ids of its calls
	Level    slog.Level `json:"level"`  // of what is logged
}

// A childRun is a task on its way to the child that runs it.
type childRun struct {
	ID      string          `json:"id"`
	Queue   string          `json:"queue"`
	Attempt int             `json:"attempt"`
	Fence   int64           `json:"fence"`
	Source  string          `json:"source,omitempty"`
	Trace   string          `json:"trace,omitempty"`
	Payload json.RawMessage `json:"payload"`
	Left    time.Duration   `json:"left,omitempty"` // until its time is up; 0 where there is no limit

	Done   *Subtasks `json:"done,omitempty"` // SubtasksDone is to be run
	DoneOf string    `json:"done_of,omitempty"`
}

// children are the child processes of an engine.
type children struct {
	mu      sync.Mutex
	closed  bool
	running map[*child.Process]struct{}
	started atomic.Uint64
}

// start starts a child, unless the engine has ended.
func (c *children) start(cfg child.Config) (*child.Process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errShutdown
	}
	p, err := child.Start(cfg)
	if err == nil {
		if c.running == nil {
			c.running = map[*child.Process]struct{}{}
		}
		c.running[p] = struct{}{}
	}
	return p, err
}

// end ends a child and waits until it is no more.
func (c *children) end(p *child.Process) {
	p.Close()
	c.mu.Lock()
	delete(c.running, p)
	c.mu.Unlock()
}

// endAll kills those that still run, and waits for them. No more are started.
func (c *children) endAll() {
	c.mu.Lock()
	c.closed = true
	for p := range c.running {
		p.Kill()
		defer func() { <-p.Dead() }()
	}
	c.mu.Unlock()
}

// isolated is a worker as it is to be run: one with isolation=process gets functions that run a child.
func (e *engine) isolated(w WorkerSpec) WorkerSpec {
	if w.Isolation != "process" || e.app.settings.child.off {
		return w
	}
	w.Run = func(ctx context.Context, payload json.RawMessage) (json.RawMessage, error) {
		return e.runChild(ctx, payload, nil)
	}
	if w.SubtasksDone != nil {
		w.SubtasksDone = func(ctx context.Context, payload json.RawMessage, s Subtasks) error {
			_, err := e.runChild(ctx, payload, &s)
			return err
		}
	}
	return w
}

// runChild runs one task in a child of its own, which is no more when it returns.
func (e *engine) runChild(ctx context.Context, payload json.RawMessage, done *Subtasks) (json.RawMessage, error) {
	r := TaskFrom(ctx)
	run := childRun{ID: r.ID, Queue: r.Queue, Attempt: r.Attempt, Fence: r.Fence, Source: r.Source, Trace: r.trace, Payload: payload, Done: done}
	if done != nil {
		run.DoneOf = strings.TrimSuffix(r.ID, doneSuffix)
	}
	log := LoggerFrom(ctx)
	p, err := e.children.start(child.Config{
		Kind: childTask, Name: r.Queue, Memory: e.app.settings.child.memory, Handle: serveChild(ctx, e.app.process, log.Handler(), e.log),
		Data: childData{Instance: e.app.instance, Backend: e.ports.Name, Number: e.children.started.Add(1), Level: lowest(ctx, log)},
	})
	if err != nil { // not the worker's failure: no attempt is charged
		log.Warn("no child process could be started; the task waits", "error", err)
		return nil, Snooze(retry.MaxPoll)
	}
	defer e.children.end(p)

	begin := time.NewTimer(childReadyMost)
	defer begin.Stop()
	select {
	case <-p.Ready():
	case <-p.Dead():
		if p.Exit().Terminated && e.app.drainsSoon() {
			return nil, Snooze(0)
		}
		return nil, crashed(p.Exit(), "before it had begun its task: main must get to Start or Run of the App with this worker")
	case <-ctx.Done():
		p.Kill()
		return nil, Errorf(CodeOf(ctx.Err()), "the child process had not begun its task: %w", context.Cause(ctx))
	case <-begin.C:
		p.Quit(child.QuitMost)
		return nil, Errorf(ErrFailedPrecondition, "the child process had not begun its task after %v: main must get to Start or Run "+
			"of the App with this worker, also in a child; %w", childReadyMost, p.Exit())
	}
	go func() {
		select {
		case <-e.app.draining:
			_ = p.Notify(noticeDrain, none{}) // a child that has gone needs none
		case <-p.Dead():
		}
	}()
	if deadline, ok := ctx.Deadline(); ok {
		run.Left = max(time.Until(deadline), 1)
	}
	var result json.RawMessage
	err = p.Do(ctx, opRun, run, &result, e.childEnd)
	if fault, ok := errors.AsType[*child.Fault](err); ok {
		return nil, faultError(fault)
	}
	exit, ok := errors.AsType[*child.ExitError](err)
	switch {
	case err == nil:
		return result, nil
	case ok && exit.Killed && ctx.Err() != nil:
		logHung(errorLogFrom(ctx), context.Cause(ctx), p, exit)
		return nil, Errorf(CodeOf(ctx.Err()), "the handler ignored the end of its context, and its process was killed: %w", context.Cause(ctx))
	case ok && exit.Terminated && e.app.drainsSoon():
		return nil, Snooze(0)
	case ok:
		return nil, crashed(exit, "")
	}
	return nil, Errorf(ErrInternal, "running a task in a child process: %w", err)
}

// childEnd is how a handler's process ends after its context has ended for a cause.
func (e *engine) childEnd(cause error) child.End {
	end := child.End{Fault: causeFault(cause), Grace: e.app.settings.child.grace, Quit: child.QuitMost}
	switch {
	case errors.Is(cause, errShutdown): // before Shutdown gives up on it
		end.Grace, end.Quit = min(end.Grace, abandonAfter/2), abandonAfter/4
	case errors.Is(cause, ErrLeaseLost): // the task may run elsewhere in a moment
		end.Grace, end.Quit = 0, 0
	}
	return end
}

// logHung logs where a handler hung whose process was killed, if the process has told.
func logHung(log *slog.Logger, cause error, p *child.Process, exit *child.ExitError) {
	where := stack.Running(p.Stderr(), handleHereName)
	if where == "" {
		where = exit.Stderr
	}
	log.Error("a handler ignores its context; its process was killed", "cause", cause, "stack", where)
}

// handleHereName is the function that is on the stack of a handler in a child.
var handleHereName = stack.Name((*App).handleHere)

// drainsSoon reports whether the App drains, now or within a second. A supervisor that sends SIGTERM to all processes of a
// service reaches a child before its parent at times.
func (a *App) drainsSoon() bool {
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-a.draining:
	case <-timer.C:
	}
	return a.isDraining()
}

// crashed is the error of an attempt whose process has ended by itself.
func crashed(exit *child.ExitError, when string) error {
	if when != "" {
		return Errorf(exit.Code(), "%s: %w", when, exit)
	}
	return Errorf(exit.Code(), "%w", exit)
}

// lowest is the least level that a logger takes.
func lowest(ctx context.Context, log *slog.Logger) slog.Level {
	for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if log.Enabled(ctx, l) {
			return l
		}
	}
	return slog.LevelError + 1
}

// The kinds of faults between a task's child and its parent.
const (
	faultPanic     = "panic"
	faultGoexit    = "goexit"
	faultPermanent = "permanent"
	faultDecode    = "decode"
	faultSnooze    = "snooze"
	faultNobody    = "no instance" // of the service called
	faultStale     = "stale fence"

	causeStopped  = "stopped"
	causeLease    = "lease"
	causeTimeout  = "timeout"
	causeShutdown = "shutdown"
)

// taskFault is the error of a handler as it leaves the child.
func taskFault(err error) *child.Fault {
	a := guard.ToWireError(err)
	_, coded := errors.AsType[*Error](err)
	f := &child.Fault{Code: a.Code, Message: a.Message, Details: a.Details, Uncoded: !coded}
	if p, ok := err.(*guard.PanicError); ok {
		f.Kind, f.Message, f.At, f.Stack = faultPanic, p.Value, p.At, p.Stack
	} else if s, ok := errors.AsType[*guard.SnoozeError](err); ok {
		f.Kind, f.Delay = faultSnooze, s.Delay
	} else if guard.IsUndecoded(err) {
		f.Kind = faultDecode
	} else if guard.IsPermanent(err) {
		f.Kind = faultPermanent
	} else if err == error(guard.ErrGoexit) {
		f.Kind = faultGoexit
	}
	return f
}

// faultError is the error of a handler as it arrives in the parent.
func faultError(f *child.Fault) error {
	switch f.Kind {
	case faultPanic:
		return &guard.PanicError{Panic: stack.Panic{Value: f.Message, At: f.At, Stack: f.Stack}}
	case faultGoexit:
		return guard.ErrGoexit
	case faultSnooze:
		return Snooze(f.Delay)
	case faultDecode:
		return guard.Undecoded(f.Err())
	case faultPermanent:
		return Permanent(handlerError(f))
	}
	return handlerError(f)
}

// handlerError is an error that a handler returned, as it arrives in the parent.
func handlerError(f *child.Fault) error {
	if f.Uncoded {
		return &uncodedError{f.Code, f.Message}
	}
	return f.Err()
}

// An uncodedError is an error of a child's handler that was no [Error], with the code that it wraps.
type uncodedError struct {
	code Code
	text string
}

func (e *uncodedError) Error() string { return e.text }
func (e *uncodedError) Unwrap() error { return e.code }

// causeFault is why a task's context ended, as the child is told.
func causeFault(cause error) *child.Fault {
	f := child.NewFault(cause)
	switch {
	case errors.Is(cause, ErrTaskStopped):
		f.Kind = causeStopped
	case errors.Is(cause, ErrLeaseLost):
		f.Kind = causeLease
	case errors.Is(cause, errTaskTimeout):
		f.Kind = causeTimeout
	case errors.Is(cause, errShutdown):
		f.Kind = causeShutdown
	}
	return f
}

// faultCause is the same in the child: what a handler compares the cause of its context with.
func faultCause(f *child.Fault) error {
	switch f.Kind {
	case causeStopped:
		return ErrTaskStopped
	case causeLease:
		return ErrLeaseLost
	case causeTimeout:
		return errTaskTimeout
	case causeShutdown:
		return errShutdown
	}
	return f.Err()
}

// portFault is the error of a port as it leaves the parent, portError the same as it arrives in the child.
func portFault(err error) error {
	f := child.NewFault(err)
	if errors.Is(err, backend.ErrNoInstance) {
		f.Kind = faultNobody
	}
	if errors.Is(err, backend.ErrStaleFence) {
		f.Kind = faultStale
	}
	return f
}

func portError(err error) error {
	f, ok := errors.AsType[*child.Fault](err)
	switch {
	case err == nil:
		return nil
	case ok && f.Kind == faultNobody:
		return faultOf(f, backend.ErrNoInstance)
	case ok && f.Kind == faultStale:
		return faultOf(f, backend.ErrStaleFence)
	case ok:
		return f.Err()
	case errors.Is(err, child.ErrGone):
		return Errorf(ErrUnavailable, "%w", err)
	}
	return backend.AsError(err)
}

// faultOf is a fault that was of a known kind.
func faultOf(f *child.Fault, kind error) error {
	e := Errorf(f.Code, "%w", kind).With(f.Outcome)
	e.Message = f.Message
	return e
}
