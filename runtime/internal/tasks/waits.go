package tasks

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/signal"
)

const (
	waitFirst = 100 * time.Millisecond // between polls without a notification
	waitMost  = 2 * time.Second
	maxDepth  = 1000 // levels of subtasks that a wait searches
)

// Wait waits for a task, on behalf of the handler of the task by if by isn't empty.
func (e *Engine) Wait(ctx context.Context, id, by string) (backend.Task, error) {
	var t backend.Task
	err := e.poll(ctx, id, func() (ended bool, err error) {
		if t, err = e.Ports.Store.Get(ctx, id); err != nil || t.Status.Final() {
			return true, err
		}
		if by != "" && t.Gated && e.needs(ctx, t, by) {
			return true, backend.Errorf(backend.ErrFailedPrecondition,
				"handler of task %[2]s waits for its subtask %[1]s, which can't start before the handler returns: "+
					"use SubtasksDone, or submit with RunNow", id, by).With(backend.OutcomeNotSent)
		}
		return false, nil
	}, func() {
		if !t.Gated && t.Started.IsZero() {
			e.WaitsLong(ctx, &t)
		}
	})
	if err != nil {
		return backend.Task{}, err
	}
	return t, nil
}

// poll calls check until it returns true: at once, when the waiters for id are notified, and after pauses of up to 2 s.
// While the store is unavailable it continues. long, if not nil, is called once after a check that returned false, when
// the wait has lasted for e.WaitUntold.
func (e *Engine) poll(ctx context.Context, id string, check func() (bool, error), long func()) error {
	ch, remove := e.notified(id)
	defer remove()
	untold := time.NewTimer(e.WaitUntold)
	defer untold.Stop()
	pause, isLong := waitFirst, false
	for {
		ended, err := check()
		switch code := backend.CodeOf(err); {
		case err == nil && ended:
			return nil
		case ctx.Err() != nil:
			return waited(ctx, id)
		case err != nil && code != backend.ErrUnavailable && code != backend.ErrDeadlineExceeded:
			return backend.AsError(err)
		case err == nil && isLong && long != nil:
			long()
		}
		isLong = false
		timer := time.NewTimer(retry.Jitter(pause))
		select {
		case <-ch:
		case <-timer.C:
			pause = min(2*pause, waitMost)
		case <-untold.C:
			isLong = true
		case <-ctx.Done():
			timer.Stop()
			return waited(ctx, id)
		case <-e.ctx.Done():
			timer.Stop()
			return backend.Errorf(backend.ErrUnavailable, "app shut down while waiting for task %s", id)
		}
		timer.Stop()
	}
}

// notified returns a signal that is set when a task may have ended. The caller must call remove when its wait ends.
func (e *Engine) notified(id string) (ch signal.Signal, remove func()) {
	ch = e.waits.add(id)
	stop := func() {}
	if e.Observer {
		stop = e.hearEnd(id, ch)
	}
	return ch, func() {
		stop()
		e.waits.remove(id, ch)
	}
}

// waited returns the error of an interrupted wait. The task is not affected.
func waited(ctx context.Context, id string) *backend.Error {
	return backend.Errorf(backend.CodeOf(ctx.Err()), "wait for task %s: %w", id,
		context.Cause(ctx)).With(backend.OutcomeUnknown)
}

// needs reports whether a gated task can't start before the handler of the task by has returned, because all gates
// between them are shut. If reading fails, the next poll decides.
func (e *Engine) needs(ctx context.Context, t backend.Task, by string) bool {
	for range maxDepth {
		source, err := e.Ports.Store.Get(ctx, t.Source)
		switch {
		case err != nil, source.Status.Final(): // the gate is about to open
			return false
		case source.ID == by:
			return true
		case !source.Gated:
			return false
		}
		t = source
	}
	return false
}

// waits are the waiters for tasks to end.
type waits struct {
	mu   sync.Mutex
	ids  map[string][]signal.Signal
	also func(ids []string) // called for all ids
}

// notify wakes the waiters for ids.
func (w *waits) notify(ids []string) {
	w.also(ids)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.ids) == 0 {
		return
	}
	for _, id := range ids {
		for _, ch := range w.ids[id] {
			ch.Set()
		}
	}
}

// heard is notify for an event of another process. A nil event means that events were missed; then it wakes all.
func (w *waits) heard(event json.RawMessage) {
	var ids []string
	if event == nil || json.Unmarshal(event, &ids) != nil {
		w.mu.Lock()
		for id := range w.ids {
			ids = append(ids, id)
		}
		w.mu.Unlock()
	}
	w.notify(ids)
}

func (w *waits) add(id string) signal.Signal {
	ch := signal.New()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ids[id] = append(w.ids[id], ch)
	return ch
}

func (w *waits) remove(id string, ch signal.Signal) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.ids[id]
	for i := range list {
		if list[i] == ch {
			list = append(list[:i:i], list[i+1:]...)
			break
		}
	}
	if w.ids[id] = list; len(list) == 0 {
		delete(w.ids, id)
	}
}
