package runtime

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	drainLogInterval = 5 * time.Second
	drainLogIDs      = 3 // ids of running tasks that are logged for each queue
)

// Draining returns a channel that is closed when the App running the handler that owns ctx begins to shut down. The
// handler's context ends later, after [DrainTimeout]. A handler that takes longer can save its progress and return, or
// return [Snooze] to run again on another instance. Draining works in the handlers of calls, tasks, jobs and raw
// messages, also in a child process. Outside a handler it returns nil.
func Draining(ctx context.Context) <-chan struct{} {
	if h := handlingFrom(ctx); h != nil {
		return h.app.draining
	}
	return nil
}

// isDraining reports whether the App has begun to shut down.
func (a *App) isDraining() bool {
	select {
	case <-a.draining:
		return true
	default:
		return false
	}
}

// reportDrain logs every drainLogInterval what a drain waits for, until done is closed.
func (a *App) reportDrain(ctx context.Context, done <-chan struct{}) {
	tick := time.NewTicker(drainLogInterval)
	defer tick.Stop()
	begun := time.Now()
	for {
		select {
		case <-tick.C:
		case <-done:
			return
		}
		left := a.unfinished()
		if len(left) == 0 {
			continue
		}
		left = append([]any{"waited", time.Since(begun).Round(time.Second)}, left...)
		if deadline, ok := ctx.Deadline(); ok {
			left = append(left, "remaining", max(time.Until(deadline), 0).Round(time.Second))
		}
		a.log.Info("draining", left...)
	}
}

// unfinished describes what a drain waits for, as attributes of a log line:
//
//   - tasks: the running tasks of each queue, with the ids of some
//   - calls, messages: the number of running handlers of each service and raw queue
//   - results: the number of results that are not written
func (a *App) unfinished() []any {
	var tasks, calls, messages, out []any
	if a.core != nil {
		for _, q := range a.core.state(true) {
			n, ids := len(q.Running), q.Running
			if n > 0 {
				more := ""
				if n > drainLogIDs {
					ids, more = ids[:drainLogIDs], " …"
				}
				tasks = append(tasks, fmt.Sprintf("%s: %d (%s%s)", q.Queue, n, strings.Join(ids, " "), more))
			}
		}
	}
	for service, n := range a.servings.InFlight() {
		if n > 0 {
			calls = append(calls, fmt.Sprintf("%s: %d", service, n))
		}
	}
	for queue, n := range a.receivers.Handling() {
		messages = append(messages, fmt.Sprintf("%s: %d", queue, n))
	}
	for _, kind := range []struct {
		name  string
		items []any
	}{{"tasks", tasks}, {"calls", calls}, {"messages", messages}} {
		if len(kind.items) > 0 {
			slices.SortFunc(kind.items, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
			out = append(out, kind.name, strings.Trim(fmt.Sprint(kind.items), "[]"))
		}
	}
	if a.core != nil {
		if n, _ := a.core.unwritten(); n > 0 {
			out = append(out, "results", n)
		}
	}
	return out
}
