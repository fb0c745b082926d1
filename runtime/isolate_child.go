package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"

	"github.com/afgen/afgen/runtime/internal/child"
	"github.com/afgen/afgen/runtime/internal/guard"
)

// taken says that an App of this child process has its task. A child has one task, whatever Apps its main opens.
var taken atomic.Bool

// openChild makes the App of a child process. It opens no backend: what it is asked for it has done by its parent.
func openChild(a *App, self *child.Child) error {
	a.pipe = &pipe{self: self}
	if self.Kind != childTask { // a child of an executor; its main may open Apps on its way
		a.pipe.idle.Store(true)
		a.ports = a.pipe.ports("none")
		a.tasks = newEngine(a)
		return nil
	}
	var data childData
	if err := json.Unmarshal(self.Data, &data); err != nil {
		return Errorf(ErrInternal, "what this child process was told: %w", err)
	}
	a.instance = data.Instance
	a.called.Store(data.Number << 32) // so that no call has the id of one of the parent's or of another child's
	a.log = slog.New(&pipeLog{pipe: a.pipe, level: data.Level})
	a.ports = a.pipe.ports(data.Backend)
	a.tasks = newEngine(a)
	return nil
}

// startChild starts the App of a child process: it runs the task that the parent hands over, and the process exits. It
// returns only where the task is of another App's worker; then this App serves nothing and is not connected.
func (a *App) startChild() error {
	w, err := a.ownWorker()
	if w == nil {
		return err
	}
	if err := a.pipe.self.Ready(func(r *child.Request) { a.runHere(r, *w) }); err != nil {
		fmt.Fprintln(os.Stderr, "child process:", err)
		os.Exit(2)
	}
	select {} // until the task has ended and the process with it
}

// ownWorker returns the worker whose task this child process runs; nil if that is another App's. From now on there are no more
// registrations.
func (a *App) ownWorker() (*WorkerSpec, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.state.CompareAndSwap(stateOpen, stateRunning) {
		return nil, NewError(ErrFailedPrecondition, "Start: the app has been started or shut down before")
	}
	close(a.started)
	if err := a.checkRegistrations(); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(a.workers, func(w WorkerSpec) bool { return w.Name == a.pipe.self.Name })
	if a.pipe.idle.Load() || i < 0 || !taken.CompareAndSwap(false, true) {
		a.pipe.idle.Store(true)
		return nil, nil
	}
	return &a.workers[i], nil
}

// runUntil is Run in a child process. It obeys no signals.
func (a *App) runUntil(ctx context.Context) error {
	defer surviveBrokenPipes()() // it has the parent's standard output
	if err := a.startChild(); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// closeChild is Shutdown in a child process: there is nothing to drain.
func (a *App) closeChild() error {
	a.state.Store(stateClosed)
	return nil
}

// runHere runs the task of this child process, reports what came of it and ends the process.
func (a *App) runHere(r *child.Request, w WorkerSpec) {
	if r.Op == noticeDrain {
		a.drainOnce.Do(func() { close(a.draining) })
		return
	}
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
