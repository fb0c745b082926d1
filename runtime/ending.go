package runtime

import (
	"context"
	"encoding/json"
	"iter"
	"sync"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
)

// An ending is a task whose own run has ended.
type ending struct {
	id     string
	to     backend.Status
	source string
	policy backend.FailurePolicy
	family bool // it has subtasks
}

// moved handles tasks that a store method has moved: those that wait are hinted, for those that ended see endings.
func (e *engine) moved(tasks []Task) {
	queues := map[string][]string{}
	for _, t := range tasks {
		if !t.Status.Final() && t.Status != backend.StatusRunning {
			queues[t.Queue] = append(queues[t.Queue], t.ID)
		}
	}
	for q, ids := range queues {
		e.wake(q, ids)
	}
	e.ended(tasks)
}

// ended is endings for tasks.
func (e *engine) ended(tasks []Task) {
	var list []ending
	for _, t := range tasks {
		if t.Status.Final() {
			list = append(list, ending{t.ID, t.Status, t.Source, t.OnFailure, t.Spawned})
		}
	}
	e.endings(list)
}

// endings does what follows from the end of tasks: waiters are told, and the finisher has subtasks begun or stopped,
// and sets finished whose last subtask this may have been. Whatever fails here, the sweeper does later.
func (e *engine) endings(list []ending) {
	if len(list) == 0 {
		return
	}
	ids := make([]string, len(list))
	for i, t := range list {
		ids[i] = t.id
	}
	e.waits.tell(ids)
	e.endNews.add(ids)
	for _, t := range list {
		if t.family {
			e.finisher.add(t.id, familyOf(t.id, t.to))
		}
		if t.source == "" {
			continue
		}
		var f followUp
		if t.to == backend.StatusFailed && t.policy == FailFast {
			f.stop = "a sibling failed: " + t.id
		}
		e.finisher.add(t.source, f)
	}
}

// familyOf is what must be done for a source that has ended.
func familyOf(id string, status backend.Status) followUp {
	if status != backend.StatusSuccess {
		return followUp{stop: "its source " + id + " has " + string(status)}
	}
	return followUp{open: true}
}

// lookAfter does what follows from the end of a source that has been read, at once.
func (e *engine) lookAfter(ctx context.Context, t Task) {
	e.follow(ctx, t.ID, familyOf(t.ID, t.Status))
}

// openBelow opens the gate of the subtasks of a source that has succeeded.
func (e *engine) openBelow(ctx context.Context, source string) {
	var queues []string
	err := retry.Do(ctx, opTimeout, func(ctx context.Context) (err error) {
		queues, err = e.store.Open(ctx, source)
		return err
	})
	e.leave("open subtasks", source, err)
	for _, q := range queues {
		e.wake(q, nil)
	}
}

func (e *engine) finish(ctx context.Context, source string) {
	var queue string
	err := retry.Do(ctx, opTimeout, func(ctx context.Context) (err error) {
		_, queue, err = e.store.Finish(ctx, source)
		return err
	})
	e.leave("finish a set of subtasks", source, err)
	if queue != "" {
		e.wake(queue, []string{source + doneSuffix})
	}
}

// stopBelow stops everything under a source, and returns the sources under it whose sets may be finished now.
func (e *engine) stopBelow(ctx context.Context, source, reason string) []string {
	var sources []string
	stop := backend.Stop{ID: source, Reason: reason, Below: true, Each: func(tasks []Task) {
		sources = append(sources, e.tellStopped(tasks)...)
	}}
	err := retry.Do(ctx, stopTimeout, func(ctx context.Context) error { return e.stopTasks(ctx, stop) })
	e.leave("stop subtasks", source, err)
	return sources
}

// stopTasks has the store stop tasks, and passes them to s.Each, which is not nil, also if the store returns them.
func (e *engine) stopTasks(ctx context.Context, s backend.Stop) error {
	rest, err := e.store.Stop(ctx, s)
	s.Report(rest)
	return err
}

// stopAndTell stops tasks, and has done what follows from it, a part at a time.
func (e *engine) stopAndTell(ctx context.Context, s backend.Stop) error {
	s.Each = func(tasks []Task) {
		if sources := e.tellStopped(tasks); len(sources) > 0 {
			e.finisher.add(s.ID, followUp{also: sources})
		}
	}
	return e.stopTasks(ctx, s)
}

// tellStopped tells who waits for tasks, and who runs them, that they were stopped or are to stop. It returns the sources whose
// sets may be finished now: those among the tasks that have subtasks, and the tasks' own. What is under them was stopped with them.
func (e *engine) tellStopped(tasks []Task) (sources []string) {
	var running, ended []string
	seen := map[string]bool{"": true}
	add := func(id string) {
		if !seen[id] {
			seen[id] = true
			sources = append(sources, id)
		}
	}
	for i := range tasks {
		t := &tasks[i]
		switch {
		case t.Status == backend.StatusRunning:
			running = append(running, t.ID)
		case t.Status.Final():
			ended = append(ended, t.ID)
			add(t.Source)
			if t.Spawned {
				add(t.ID)
			}
		}
	}
	if len(running) > 0 {
		e.reconciler.now()
		e.bus.PublishFirst(topicStop, running)
	}
	if len(ended) > 0 {
		e.waits.tell(ended)
		e.endNews.add(ended)
	}
	return sources
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
	return e.requests.Do(ctx, func(ctx context.Context) error {
		return e.stopAndTell(ctx, backend.Stop{ID: id, Reason: "stopped on request"})
	})
}

// GetTask implements [TaskClient].
func (a *App) GetTask(ctx context.Context, id string) (Task, error) {
	e, err := a.engine()
	if err != nil {
		return Task{}, err
	}
	t, err := e.store.Get(ctx, id)
	if err != nil {
		return Task{}, backend.AsError(err)
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

// allSubtasks reads the subtasks of a source, a page at a time.
func (e *engine) allSubtasks(source string) func(context.Context) iter.Seq2[Task, error] {
	return func(ctx context.Context) iter.Seq2[Task, error] {
		return func(yield func(Task, error) bool) {
			q := backend.TaskQuery{Source: source, Sort: backend.SortOldest, Limit: 500}
			for {
				var page backend.TaskPage
				err := retry.Do(ctx, opTimeout, func(ctx context.Context) (err error) {
					page, err = e.store.List(ctx, q)
					return err
				})
				if err != nil {
					yield(Task{}, backend.AsError(err))
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
