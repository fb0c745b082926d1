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
	subtasks bool // whether it has subtasks
}

// moved handles tasks that a store method moved. It publishes hints for waiting ones and completes those that ended.
func (e *Engine) moved(tasks []backend.Task) {
	queues := map[string][]string{}
	for _, t := range tasks {
		if !t.Status.Final() && t.Status != backend.StatusRunning {
			queues[t.Queue] = append(queues[t.Queue], t.ID)
		}
	}
	for q, ids := range queues {
		e.Wake(q, ids)
		e.pollEverywhere(q) // a hint may wait at an instance without a free slot
	}
	e.ended(tasks)
}

// ended completes those of the tasks that have ended. No attempt of this process has ended them.
func (e *Engine) ended(tasks []backend.Task) {
	e.History.Ended(tasks)
	if e.Hooks != nil {
		e.observeEnded(tasks)
	}
	var list []completion
	for _, t := range tasks {
		if t.Status.Final() {
			list = append(list, completion{t.ID, t.Status, t.Source, t.OnFailure, t.Spawned})
		}
	}
	e.complete(list)
}

// complete handles the end of tasks. It notifies waiters, and lets the finisher start or stop their subtasks and
// finish sources whose last subtask may have ended. The sweeper repeats what fails here.
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

// StopTask stops tasks and completes them, batch by batch. It passes them to s.Each, if that is set.
func (e *Engine) StopTask(ctx context.Context, s backend.Stop) error {
	each := s.Each
	s.Each = func(tasks []backend.Task) {
		if each != nil {
			each(tasks)
		}
		if sources := e.notifyStopped(tasks); len(sources) > 0 {
			e.finisher.add(s.ID, followUp{also: sources})
		}
	}
	return e.stopTasks(ctx, s)
}

// notifyStopped notifies waiters and running attempts of tasks that were stopped or told to stop. It returns the
// sources that may be finished: stopped tasks with subtasks, and the stopped tasks' own sources.
func (e *Engine) notifyStopped(tasks []backend.Task) (sources []string) {
	if e.Hooks != nil {
		e.observeEnded(tasks)
	}
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

// notifyFinished notifies waiters of a finished set of subtasks.
func (e *Engine) notifyFinished(source string) {
	e.waits.notify([]string{source})
	e.endEvents.add([]string{source})
}
