package runtime

import (
	"context"

	"github.com/afgen/afgen/runtime/internal/drain"
)

// Draining returns a channel that is closed when the App running the handler that owns ctx begins to shut down. The
// handler's context ends later, after [DrainTimeout]. A handler that takes longer can save its progress and return, or
// return [Snooze] to run again on another instance. Draining works in the handlers of calls, tasks, jobs and raw
// messages, also in a child process. Outside a handler it returns nil.
func Draining(ctx context.Context) <-chan struct{} {
	if h := handlingFrom(ctx); h != nil {
		return h.app.life.Draining()
	}
	return nil
}

// Stopping returns a channel that is closed when Shutdown begins, so that other servers of the program, such as those of
// package net/http, can end with the App. In a child process the channel is closed from the beginning: a server must not
// run there.
func (a *App) Stopping() <-chan struct{} {
	if _, child := a.process.(childProcess); child {
		return closedChannel
	}
	return a.life.Draining()
}

var closedChannel = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// unfinished returns what a drain waits for.
func (a *App) unfinished() drain.Left {
	left := drain.Left{Tasks: map[string][]string{}, Calls: a.servings.InFlight(), Messages: a.receivers.Handling()}
	if a.core != nil {
		for _, q := range a.core.state(true) {
			left.Tasks[q.Queue] = q.Running
		}
		left.Results, _ = a.core.unwritten()
	}
	return left
}
