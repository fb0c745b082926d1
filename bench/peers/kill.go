package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// workerRole is the role of a process that runs tasks until they are stopped.
const workerRole = "worker"

// A longWorker runs a task until its context ends. It writes a line when a run starts.
type longWorker struct {
	mu  sync.Mutex
	out io.Writer
}

// Run implements the worker.
func (w *longWorker) Run(ctx context.Context, _ payload) error {
	w.mu.Lock()
	fmt.Fprintln(w.out, af.TaskFrom(ctx).ID)
	w.mu.Unlock()
	<-ctx.Done()
	return context.Cause(ctx)
}

func serveWorker(ctx context.Context, s site, out io.Writer) (stop, error) {
	app, err := s.startApp(ctx, servers, func(app *af.App) {
		af.RegisterVoidWorker(app, workerOf(10), &longWorker{out: out})
	})
	if err != nil {
		return nil, err
	}
	return app.Shutdown, nil
}

// A started run of a task in one of the workers.
type startedRun struct {
	worker int
	at     time.Time
}

// killing kills the process that runs a task with SIGKILL, several times, and measures when the task runs again in the
// other process: the longest time.
func killing(ctx context.Context, w *world) (r result, err error) {
	q, err := newAfgenQueue(ctx, w)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, q.close(context.WithoutCancel(ctx))) }()
	var workers [2]*server
	began := make(chan startedRun, 100)
	boot := func(i int) error {
		p, err := startProcess(ctx, w.site, workerRole)
		if err != nil {
			return err
		}
		workers[i] = p
		go func() { // ends with the process
			for p.out.Scan() {
				began <- startedRun{i, time.Now()}
			}
		}()
		return nil
	}
	defer func() {
		for _, p := range workers {
			if p != nil {
				err = errors.Join(err, p.kill())
			}
		}
	}()
	next := func() (startedRun, error) {
		select {
		case run := <-began:
			return run, nil
		case <-time.After(stuckAfter):
			return startedRun{}, fmt.Errorf("the task has not started within %v", stuckAfter)
		case <-ctx.Done():
			return startedRun{}, context.Cause(ctx)
		}
	}
	if err := errors.Join(boot(0), boot(1)); err != nil {
		return nil, err
	}
	kills, worst := 4, 0.0
	if w.quick {
		kills = 1
	}
	for range kills {
		id, err := q.tasks.Submit(ctx, message)
		if err != nil {
			return nil, err
		}
		first, err := next()
		if err != nil {
			return nil, err
		}
		<-time.After(500 * time.Millisecond) // it runs for a while, as real tasks do
		killed := time.Now()
		if err := workers[first.worker].kill(); err != nil {
			return nil, err
		}
		again, err := next()
		if err != nil {
			return nil, err
		}
		worst = max(worst, micros(again.at.Sub(killed)))
		if err := q.submitter.StopTask(ctx, id); err != nil {
			return nil, err
		}
		if err := boot(first.worker); err != nil {
			return nil, err
		}
	}
	return only(worst), nil
}
