package runtime

import (
	"context"
	"encoding/json"
	"iter"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// An ending is a task whose own run has ended.
type ending struct {
	id     string
	to     backend.Status
	source string
	policy backend.FailurePolicy
	family bool // it has subtasks, or may have
}

// moved sees to tasks that somebody else's method has moved: those that wait are hinted, those that ended are dealt with.
func (e *engine) moved(ctx context.Context, tasks []Task) {
	queues := map[string][]string{}
	for _, t := range tasks {
		if !t.Status.Final() && t.Status != backend.StatusRunning {
			queues[t.Queue] = append(queues[t.Queue], t.ID)
		}
	}
	for q, ids := range queues {
		e.wake(q, ids)
	}
	e.ended(ctx, tasks)
}

// ended is endings for tasks of which it is not known whether they have subtasks.
func (e *engine) ended(ctx context.Context, tasks []Task) {
	var list []ending
	for _, t := range tasks {
		if t.Status.Final() {
			list = append(list, ending{t.ID, t.Status, t.Source, t.OnFailure, true})
		}
	}
	e.endings(ctx, list)
}

// endings sees to what follows from the end of tasks: those who wait are told, subtasks begin or are stopped, and sets
// whose last subtask this was are finished. Whatever fails here, the sweeper does later.
func (e *engine) endings(ctx context.Context, list []ending) {
	if len(list) == 0 {
		return
	}
	ids := make([]string, len(list))
	sources := map[string]bool{}
	for i, t := range list {
		ids[i] = t.id
		if t.source != "" {
			sources[t.source] = true
		}
	}
	e.waits.tell(ids)
	e.broadcast(topicEnded, ids)
	for _, t := range list {
		if t.source != "" && t.to == backend.StatusFailed && t.policy == FailFast {
			e.stopBelow(ctx, t.source, "a sibling failed: "+t.id)
		}
		if t.family {
			e.family(ctx, t.id, t.to)
		}
	}
	for source := range sources {
		e.finish(ctx, source)
	}
}

// family sees to the subtasks of a task that has ended.
func (e *engine) family(ctx context.Context, id string, status backend.Status) {
	if status != backend.StatusSuccess {
		e.stopBelow(ctx, id, "its source "+id+" has "+string(status))
	} else {
		var queues []string
		err := e.repeat(ctx, func(ctx context.Context) (err error) {
			queues, err = e.store.Open(ctx, id)
			return err
		})
		e.leave("open subtasks", id, err)
		for _, q := range queues {
			e.wake(q, nil)
		}
	}
	e.finish(ctx, id)
}

// lookAfter is family for a task that has been read.
func (e *engine) lookAfter(ctx context.Context, t Task) { e.family(ctx, t.ID, t.Status) }

func (e *engine) finish(ctx context.Context, source string) {
	var queue string
	err := e.repeat(ctx, func(ctx context.Context) (err error) {
		_, queue, err = e.store.Finish(ctx, source)
		return err
	})
	e.leave("finish a set of subtasks", source, err)
	if queue != "" {
		e.wake(queue, []string{source + doneSuffix})
	}
}

func (e *engine) stopBelow(ctx context.Context, source, reason string) {
	var tasks []Task
	err := e.repeat(ctx, func(ctx context.Context) (err error) {
		tasks, err = e.store.Stop(ctx, backend.Stop{ID: source, Reason: reason, Below: true})
		return err
	})
	e.leave("stop subtasks", source, err)
	e.stopped(ctx, tasks)
}

// stopped sees to tasks that were stopped or asked to stop.
func (e *engine) stopped(ctx context.Context, tasks []Task) {
	var running []string
	for _, t := range tasks {
		if t.Status == backend.StatusRunning {
			running = append(running, t.ID)
		}
	}
	if len(running) > 0 {
		e.pulse.auditNow()
		e.broadcast(topicStop, running)
	}
	e.ended(ctx, tasks)
}

// leave notes what is left to the sweeper.
func (e *engine) leave(what, id string, err error) {
	if err != nil {
		e.log.Debug("left to the sweeper: "+what, "task", id, "error", err)
	}
}

// StopTask stops a task and everything under it: what waits never runs, and the context of what runs ends with
// [ErrTaskStopped] as its cause. It returns once that is recorded; a handler may take a moment to see it, and its result
// no longer counts. Stopping what has ended is harmless; ErrNotFound says that there is no such task.
func (a *App) StopTask(ctx context.Context, id string) error {
	e, err := a.engine()
	if err != nil {
		return err
	}
	var tasks []Task
	err = e.ask(ctx, func(ctx context.Context) (err error) {
		tasks, err = e.store.Stop(ctx, backend.Stop{ID: id, Reason: "stopped on request"})
		return err
	})
	if err != nil {
		return err
	}
	e.stopped(e.ctx, tasks)
	return nil
}

// GetTask implements [TaskClient].
func (a *App) GetTask(ctx context.Context, id string) (Task, error) {
	e, err := a.engine()
	if err != nil {
		return Task{}, err
	}
	t, err := e.store.Get(ctx, id)
	if err != nil {
		return Task{}, local(err)
	}
	return t, nil
}

// waits are those who wait for tasks to end.
type waits struct {
	mu   sync.Mutex
	ids  map[string][]chan struct{}
	also func(ids []string) // hears of all
}

// tell wakes those who wait for ids.
func (w *waits) tell(ids []string) {
	w.also(ids)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.ids) == 0 {
		return
	}
	for _, id := range ids {
		for _, ch := range w.ids[id] {
			select {
			case ch <- struct{}{}:
			default:
			}
		}
	}
}

// news is tell for what others have spread. Nil, after a gap, wakes everybody.
func (w *waits) news(news json.RawMessage) {
	var ids []string
	if news == nil || json.Unmarshal(news, &ids) != nil {
		w.mu.Lock()
		for id := range w.ids {
			ids = append(ids, id)
		}
		w.mu.Unlock()
	}
	w.tell(ids)
}

func (w *waits) add(id string) chan struct{} {
	ch := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ids[id] = append(w.ids[id], ch)
	return ch
}

func (w *waits) remove(id string, ch chan struct{}) {
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

const (
	waitFirst = 100 * time.Millisecond // between looks where no news comes
	waitMost  = 2 * time.Second
)

// WaitTask implements [TaskClient]. It goes by news and looks for itself now and then.
func (a *App) WaitTask(ctx context.Context, id string) (Task, error) {
	e, err := a.engine()
	if err != nil {
		return Task{}, err
	}
	if err := outsideTx(ctx, "waiting for a task"); err != nil {
		return Task{}, err
	}
	if a.pipe != nil { // who hears the news
		return opWait.call(ctx, a.pipe, id)
	}
	ch := e.waits.add(id)
	defer e.waits.remove(id, ch)
	pause := waitFirst
	for {
		t, err := e.store.Get(ctx, id)
		switch code := CodeOf(err); {
		case err == nil && t.Status.Final():
			return t, nil
		case ctx.Err() != nil:
			return Task{}, waited(ctx, id)
		case err != nil && code != ErrUnavailable && code != ErrDeadlineExceeded:
			return Task{}, local(err)
		}
		timer := time.NewTimer(jitter(pause))
		select {
		case <-ch:
		case <-timer.C:
			pause = min(2*pause, waitMost)
		case <-ctx.Done():
			timer.Stop()
			return Task{}, waited(ctx, id)
		case <-e.ctx.Done():
			timer.Stop()
			return Task{}, Errorf(ErrUnavailable, "the app was shut down while waiting for task %s", id)
		}
		timer.Stop()
	}
}

// waited is the error of a wait that was cut short; the task goes on.
func waited(ctx context.Context, id string) *Error {
	return Errorf(CodeOf(ctx.Err()), "waiting for task %s: %w", id, context.Cause(ctx)).With(OutcomeUnknown)
}

// allSubtasks reads the subtasks of a source, a page at a time.
func (e *engine) allSubtasks(source string) func(context.Context) iter.Seq2[Task, error] {
	return func(ctx context.Context) iter.Seq2[Task, error] {
		return func(yield func(Task, error) bool) {
			q := backend.TaskQuery{Source: source, Sort: backend.SortOldest, Limit: 500}
			for {
				var page backend.TaskPage
				err := e.repeat(ctx, func(ctx context.Context) (err error) {
					page, err = e.store.List(ctx, q)
					return err
				})
				if err != nil {
					yield(Task{}, local(err))
					return
				}
				for _, t := range page.Tasks {
					if !yield(t, nil) {
						return
					}
				}
				if q.Cursor = page.Cursor; q.Cursor == "" {
					return
				}
			}
		}
	}
}
