package runtime

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/instrument"
)

// A QueueInfo describes a queue that has tasks, limits or a worker, or had a worker.
type QueueInfo struct {
	Name string `json:"name"`
	// Counts has the number of tasks by status. A status without tasks is missing. On servers, up to 10,000 tasks of each
	// status are counted, and only those that have not ended; see [App.History] for those that have.
	Counts map[Status]Count `json:"counts"`
	// Oldest is since when a task has been ready to run, zero if none is: the one that has been ready for longest among
	// the first ones, by age, of each weight.
	Oldest  time.Time `json:"oldest,omitzero"`
	Limits  Limits    `json:"limits"`
	Workers int       `json:"workers"` // instances with its worker that are not shutting down
	Slots   int       `json:"slots"`   // tasks that these may run at once
	Running int       `json:"running"` // tasks that run now, as all instances report
	// Served is when a worker was last seen, to within a day, by a machine's clock; zero if none ever was.
	Served time.Time `json:"served,omitzero"`
}

// Queues returns all queues, sorted by name, so that a queue with tasks and without a worker is visible. If the
// coordinator is unavailable, it returns [ErrUnavailable].
func (a *App) Queues(ctx context.Context) ([]QueueInfo, error) {
	c, err := a.active()
	if err != nil {
		return nil, err
	}
	found, err := c.overview.Queues(ctx)
	if err != nil {
		return nil, err
	}
	queues := make([]QueueInfo, len(found))
	for i, q := range found {
		queues[i] = QueueInfo{
			Name: q.Name, Counts: q.Counts, Oldest: q.Oldest, Limits: Limits(q.Limits), Workers: q.Workers, Slots: q.Slots,
			Running: q.Running, Served: q.Served,
		}
	}
	return queues, nil
}

// System returns what gauges show of the whole system, which all Apps share: it is read from the store and the
// coordinator at most every 15 s, however many Apps there are and however often they are asked. It is usually at most
// 15 s old, and at most a minute; then System returns the error of reading it. System waits for at most 5 s. In a child
// process it returns [ErrFailedPrecondition].
func (a *App) System(ctx context.Context) (instrument.System, error) {
	c, err := a.active()
	if err != nil {
		return instrument.System{}, err
	}
	if c.tasks == nil {
		return instrument.System{}, NewError(ErrFailedPrecondition, "System is not available in a child process").
			With(OutcomeNotSent)
	}
	return c.shared.System(ctx)
}
