package tasks

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
)

// A completion is a task whose own run has ended.
type completion struct {
	id       string
	to       backend.Status
	source   string
	policy   backend.FailurePolicy
	subtasks bool // it has subtasks
}

// moved handles tasks that a store method has moved: those that wait are hinted, for those that ended see complete.
func (e *Engine) moved(tasks []backend.Task) {
	queues := map[string][]string{}
	for _, t := range tasks {
		if !t.Status.Final() && t.Status != backend.StatusRunning {
			queues[t.Queue] = append(queues[t.Queue], t.ID)
		}
	}
	for q, ids := range queues {
		e.Wake(q, ids)
	}
	e.ended(tasks)
}

// ended is complete for tasks.
func (e *Engine) ended(tasks []backend.Task) {
	var list []completion
	for _, t := range tasks {
		if t.Status.Final() {
			list = append(list, completion{t.ID, t.Status, t.Source, t.OnFailure, t.Spawned})
		}
	}
	e.complete(list)
}

// complete does what follows from the end of tasks: waiters are told, and the finisher has subtasks begun or stopped,
// and sets finished whose last subtask this may have been. Whatever fails here, the sweeper does later.
func (e *Engine) complete(list []completion) {
	if len(list) == 0 {
		return
	}
	ids := make([]string, len(list))
	for i, t := range list {
		ids[i] = t.id
	}
	e.waits.notify(ids)
	e.endEvents.add(ids)
	for _, t := range list {
		if t.subtasks {
			e.finisher.add(t.id, followUpOf(t.id, t.to))
		}
		if t.source == "" {
			continue
		}
		var f followUp
		if t.to == backend.StatusFailed && t.policy == backend.FailFast {
			f.stop = "a sibling failed: " + t.id
		}
		e.finisher.add(t.source, f)
	}
}

// StopTask stops tasks, and has done what follows from it, a part at a time.
func (e *Engine) StopTask(ctx context.Context, s backend.Stop) error {
	s.Each = func(tasks []backend.Task) {
		if sources := e.tellStopped(tasks); len(sources) > 0 {
			e.finisher.add(s.ID, followUp{also: sources})
		}
	}
	return e.stopTasks(ctx, s)
}

// tellStopped tells who waits for tasks, and who runs them, that they were stopped or are to stop. It returns the sources whose
// sets may be finished now: those among the tasks that have subtasks, and the tasks' own. What is under them was stopped with them.
func (e *Engine) tellStopped(tasks []backend.Task) (sources []string) {
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
		e.waits.notify(ended)
		e.endEvents.add(ended)
	}
	return sources
}
