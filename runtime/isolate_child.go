package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/afgen/afgen/runtime/internal/child"
	"github.com/afgen/afgen/runtime/internal/guard"
)

// taken says that an App of this child process has its task. A child has one task, whatever Apps its main opens.
var taken atomic.Bool

// childProcess is a child process that runs one task for the App of its parent.
type childProcess struct {
	*pipe
	app *App
}

// openChild makes the App of a child process. It opens no backend: what it is asked for it has done by its parent.
func openChild(a *App, self *child.Child) error {
	p := newPipe(self)
	a.process = childProcess{p, a}
	if self.Kind != childTask { // a child of an executor; its main may open Apps on its way
		p.idle.Store(true)
		p.ports.Name = "none"
		a.ports = p.ports
		a.tasks = newEngine(a)
		return nil
	}
	var data childData
	if err := json.Unmarshal(self.Data, &data); err != nil {
		return Errorf(ErrInternal, "what this child process was told: %w", err)
	}
	a.instance = data.Instance
	a.called.Store(data.Number << 32) // so that no call has the id of one of the parent's or of another child's
	a.log = slog.New(&pipeLog{pipe: p, level: data.Level})
	p.ports.Name = data.Backend
	a.ports = p.ports
	a.tasks = newEngine(a)
	return nil
}

// start starts the App of a child process: it runs the task that the parent hands over, and the process exits. It
// returns only where the task is of another App's worker; then this App serves nothing and is not connected.
func (p childProcess) start(context.Context) error {
	w, err := p.worker()
	if w == nil {
		return err
	}
	var drain sync.Once
	if err := p.self.Ready(func(r *child.Request) {
		if r.Op == noticeDrain {
			drain.Do(func() { close(p.app.draining) })
			return
		}
		p.app.runHere(r, *w)
	}); err != nil {
		fmt.Fprintln(os.Stderr, "child process:", err)
		os.Exit(2)
	}
	select {} // until the task has ended and the process with it
}

// worker returns the worker whose task this child process runs; nil if that is another App's. From now on there are no more
// registrations.
func (p childProcess) worker() (*WorkerSpec, error) {
	a := p.app
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.state.CompareAndSwap(stateOpen, stateRunning) {
		return nil, NewError(ErrFailedPrecondition, "Start: the app has been started or shut down before")
	}
	close(a.started)
	if err := a.checkRegistrations(); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(a.workers, func(w WorkerSpec) bool { return w.Name == p.self.Name })
	if p.idle.Load() || i < 0 || !taken.CompareAndSwap(false, true) {
		p.idle.Store(true)
		return nil, nil
	}
	return &a.workers[i], nil
}

// run obeys no signals.
func (p childProcess) run(ctx context.Context) error {
	defer surviveBrokenPipes()() // it has the parent's standard output
	if err := p.start(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// shutdown has nothing to drain.
func (p childProcess) shutdown(context.Context) error {
	p.app.state.Store(stateClosed)
	return nil
}

// logger returns the App's logger: the parent adds what the context of its attempt knows.
func (p childProcess) logger(context.Context, *handling) *slog.Logger { return p.app.log }

// runHere runs the task of this child process, reports what came of it and ends the process.
func (a *App) runHere(r *child.Request, w WorkerSpec) {
	var run childRun
	var result json.RawMessage
	guard.Do(func() (err error) {
		if err := json.Unmarshal(r.Body, &run); err != nil {
			return err
		}
		result, err = a.handleHere(r.Context, run, w)
		return err
	}, func(err error) {
		if err != nil {
			err = taskFault(err)
		}
		if err := r.Reply(result, err); err != nil {
			fmt.Fprintln(os.Stderr, "child process:", err)
			os.Exit(2)
		}
		os.Exit(0)
	})
}

// handleHere calls the worker, in a context that ends as that of the parent's attempt.
func (a *App) handleHere(parent context.Context, run childRun, w WorkerSpec) (json.RawMessage, error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if run.Left > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, run.Left, errTaskTimeout)
		defer stop()
	}
	stop := context.AfterFunc(parent, func() {
		f, ok := errors.AsType[*child.Fault](context.Cause(parent))
		if ok && f.Kind != causeTimeout { // its own timer sees to that
			cancel(faultCause(f))
		}
	})
	defer stop()
	ctx = context.WithValue(ctx, handlingKey{}, &handling{app: a, running: &Running{
		ID: run.ID, Queue: run.Queue, Attempt: run.Attempt, Fence: run.Fence, Source: run.Source, e: a.tasks, trace: run.Trace,
	}})
	if run.Done == nil {
		return w.Run(ctx, run.Payload)
	}
	if w.SubtasksDone == nil {
		return nil, nil
	}
	s := *run.Done
	s.all = a.tasks.allSubtasks(run.DoneOf)
	return nil, w.SubtasksDone(ctx, run.Payload, s)
}
