package runtime

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/child"
	"github.com/afgen/afgen/runtime/internal/guard"
	"github.com/afgen/afgen/runtime/internal/hooks"
	"github.com/afgen/afgen/runtime/internal/interrupt"
	"github.com/afgen/afgen/runtime/internal/isolate"
	"github.com/afgen/afgen/runtime/internal/pipe"
	"github.com/afgen/afgen/runtime/internal/stack"
	"github.com/afgen/afgen/runtime/internal/tasks"
)

// How a task of a worker with isolation=process runs: package tasks calls the worker's handler, which is runChild. It
// starts this program again in a child process (package isolate). There, main opens and starts an App: openChild and
// childProcess.start. handleHere calls the registered worker, and the process exits.

// ChildMemory limits the memory, in bytes, of each child process that runs a task of a worker with isolation=process.
// On Linux the kernel limits the writable memory of the child and of each process that it starts. On all systems
// GOMEMLIMIT of the child is nine tenths of the limit. 0, the default, means no limit.
// A Go program needs at least 64 MiB. A program built with -race can't run within the kernel's limit.
func ChildMemory(bytes int64) AppOption {
	return func(s *settings) { s.child.memory = max(bytes, 0) }
}

// ChildGrace sets how long a handler in a child process may run after its context has ended. Then its process is
// killed. On Unix it gets SIGQUIT first, so that it writes its stacks to stderr. The default is 5 s. If the lease was
// lost or the instance is shutting down, the grace is at most 1 s.
func ChildGrace(d time.Duration) AppOption {
	return func(s *settings) { s.child.grace = max(d, 0) }
}

// InProcess runs the tasks of workers with isolation=process in goroutines. It is for tests: a test binary has no main
// to run in a child process, and processes do not run in virtual time.
func InProcess() AppOption {
	return func(s *settings) { s.child.off = true }
}

// IsChildProcess reports whether another process of this program started this one, to run a task of a worker with
// isolation=process or the jobs of an executor. Its main must not listen on ports that the parent has. It may be called
// before [Open].
func IsChildProcess() bool { return child.Self() != nil }

type childSettings struct {
	memory int64
	grace  time.Duration
	off    bool
}

const childGrace = 5 * time.Second

// causes are the causes with which the context of a handler in a child process ends.
var causes = pipe.Causes{
	Stopped: ErrTaskStopped, LeaseLost: ErrLeaseLost, Timeout: tasks.ErrTimeout, Shutdown: tasks.ErrShutdown,
}

// A process has the operations of an App that differ in a child process. Open chooses the implementation.
type process interface {
	pipe.Parent // of the App's children; in a child process, of the App itself

	start(ctx context.Context) error
	run(ctx context.Context) error
	shutdown(ctx context.Context) error
	// logger returns a logger that adds the attributes of the handler h, which owns ctx, to each record.
	logger(ctx context.Context, h *handling) *slog.Logger
}

// ownProcess implements process for an App that is not in a child process.
type ownProcess struct{ app *App }

// Ports returns the ports for children. What they insert is counted.
func (p ownProcess) Ports() *backend.Ports {
	ports := *p.app.ports
	ports.Store = p.app.core.store
	return &ports
}

func (p ownProcess) Wake(queue string, ids []string) {
	p.app.core.client.Wake(queue, ids)
}

func (p ownProcess) StopTasks(ctx context.Context, s backend.Stop) error {
	return p.app.core.tasks.StopTask(ctx, s)
}

func (p ownProcess) logger(ctx context.Context, h *handling) *slog.Logger {
	return slog.New(h.contextHandler().Bind(ctx, h))
}

// childProcess implements process for an App in a child process. It runs one task for its parent and reaches the
// backend through it.
type childProcess struct {
	*pipe.Client
	app *App
}

// openChild prepares the App of a child process. It opens no backend.
func (a *App) openChild(c *pipe.Client) {
	a.process = childProcess{c, a}
	a.ports = c.Ports()
	a.sender = a.newSender(a.ports)
	if c.HasTask() {
		a.instance = c.Instance
		a.called.Store(c.Number << 32) // keeps ids of calls distinct from those of the parent and other children
		a.log = slog.New(c.Logs())
	}
	a.hooks.Own(a.instance.ID, a.log)
	a.core = newChildCore(a, a.process.Wake)
}

// start runs the task that the parent sends and exits the process. It returns only if another App of the program has
// the task's worker. Then this App serves nothing and is disconnected.
func (p childProcess) start(context.Context) error {
	w, err := p.worker()
	if w == nil {
		return err
	}
	p.Serve(pipe.Handler{
		Run: func(ctx context.Context, t pipe.Task) (json.RawMessage, error) {
			return p.app.handleHere(ctx, t, w)
		},
		Drain:  p.app.life.Drain,
		Causes: causes,
	})
	return nil
}

// worker returns the worker whose task this process runs, or nil if another App has it. It ends the registration of
// workers.
func (p childProcess) worker() (*WorkerSpec, error) {
	a := p.app
	if err := a.life.BeginChild(); err != nil {
		return nil, err
	}
	if err := a.checkRegistrations(); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(a.workers, func(w WorkerSpec) bool { return w.Name == p.Queue() })
	if i < 0 || !p.Claim() {
		p.Disconnect()
		return nil, nil
	}
	w := &a.workers[i]
	var err error
	w.handle, err = a.taskHandler(w)
	return w, err
}

// run starts the App. It ignores signals: the parent ends the process.
func (p childProcess) run(ctx context.Context) error {
	defer interrupt.SurviveBrokenPipes()() // the standard output is the parent's
	if err := p.start(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// shutdown only changes the state: there is nothing to drain.
func (p childProcess) shutdown(context.Context) error {
	p.app.life.Close()
	return nil
}

// logger returns the App's logger. The parent adds the attributes of the task.
func (p childProcess) logger(context.Context, *handling) *slog.Logger { return p.app.log }

// handleHere calls the worker of a task, in a child process.
func (a *App) handleHere(ctx context.Context, t pipe.Task, w *WorkerSpec) (json.RawMessage, error) {
	r := &Running{
		ID: t.ID, Queue: t.Queue, Attempt: t.Attempt, Fence: t.Fence, Source: t.Source, DoneOf: t.DoneOf,
		Job: handledJob(t.Queue), Payload: t.Payload,
		attemptState: &attemptState{store: a.ports.Store, trace: t.Trace, metadata: t.Metadata},
	}
	if t.DoneOf != "" {
		if w.SubtasksDone == nil {
			return nil, nil
		}
		r.subtasks = subtasksOf(t.Done, a.core.client.AllSubtasks(t.DoneOf))
	}
	ctx = context.WithValue(ctx, handlingKey{}, &handling{app: a, running: r})
	if a.hooks != nil {
		ctx = a.hooks.Extract(ctx, hooks.Traced(t.Carrier, t.Trace))
		defer a.hooks.Flush()
	}
	result, err := w.handle(ctx, r)
	if err == nil || t.Last || !tasks.Retryable(err, context.Cause(ctx)) {
		return result, err
	}
	// the error loses its types on the way to the parent
	if delay, ok := w.retryDelay(a.log, t.Attempt, err); ok {
		err = guard.RetryAfter(err, delay)
	}
	return result, err
}

// isolates reports whether the tasks of a worker run in child processes.
func (c *core) isolates(w *WorkerSpec) bool {
	return w.Isolation == "process" && !c.app.settings.child.off
}

// handlerOf returns the handler of a worker's tasks. For isolation=process it runs them in child processes, where the
// middleware runs, too.
func (c *core) handlerOf(w *WorkerSpec) (TaskHandler, error) {
	if c.isolates(w) {
		return func(ctx context.Context, t *Running) (json.RawMessage, error) { return c.runChild(ctx, t) }, nil
	}
	return c.app.taskHandler(w)
}

// runChild is a TaskHandler that runs the task in a new child process, which has been reaped when runChild returns.
func (c *core) runChild(ctx context.Context, r *Running) (json.RawMessage, error) {
	t := pipe.Task{
		ID: r.ID, Queue: r.Queue, Attempt: r.Attempt, Fence: r.Fence, Source: r.Source, Trace: TraceFrom(ctx), Payload: r.Payload,
		DoneOf:   r.DoneOf,
		Last:     r.last,
		Metadata: r.metadata,
		Carrier:  c.app.hooks.Carrier(ctx),
	}
	if s := r.subtasks; t.DoneOf != "" {
		t.Done = &backend.SubtaskCounts{Total: s.Total, Succeeded: s.Succeeded, Failed: s.Failed, Stopped: s.Stopped}
	}
	return c.children.Run(ctx, t, LoggerFrom(ctx), errorLogFrom)
}

// newChildren returns the child processes of an App.
func newChildren(a *App) *isolate.Children {
	return isolate.New(isolate.Config{
		Instance: a.instance, Memory: a.settings.child.memory, Grace: a.settings.child.grace, Parent: a.process,
		Causes: causes, Draining: a.life.Draining(), Handler: stack.Name((*App).handleHere), Log: a.log,
	})
}
