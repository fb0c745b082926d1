package runtime

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/limits"
	"github.com/afgen/afgen/runtime/internal/presence"
	"github.com/afgen/afgen/runtime/internal/registry"
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
	byName := map[string]*QueueInfo{}
	of := func(name string) *QueueInfo {
		q := byName[name]
		if q == nil {
			q = &QueueInfo{Name: name, Counts: map[Status]Count{}}
			byName[name] = q
		}
		return q
	}
	var counted []backend.QueueCounts
	var limited map[string]limits.Limits
	var served map[string]time.Time
	var present map[string]registry.Announcement
	var errs [4]error
	var reads sync.WaitGroup // read at the same time
	reads.Go(func() {
		errs[0] = c.requests.Do(ctx, func(ctx context.Context) (err error) {
			counted, err = c.store.Queues(ctx)
			return err
		})
	})
	reads.Go(func() { limited, errs[1] = c.limits.All(ctx) })
	if c.ports.Docs != nil {
		reads.Go(func() { served, errs[2] = presence.ServedQueues(ctx, c.ports.Docs) })
	}
	reads.Go(func() { present, errs[3] = c.presentInstances(ctx) })
	reads.Wait()
	if err := cmp.Or(errs[:]...); err != nil {
		return nil, err
	}
	for i := range counted {
		q := of(counted[i].Queue)
		maps.Copy(q.Counts, counted[i].Counts)
		q.Oldest = counted[i].Oldest
	}
	for name, l := range limited {
		of(name).Limits = Limits(l)
	}
	for name, seen := range served {
		of(name).Served = seen
	}
	now := time.Now()
	for _, n := range present {
		for _, w := range n.Workers {
			q := of(w.Queue)
			q.Running += w.Running
			q.Served = now
			if !n.Draining {
				q.Workers++
				q.Slots += w.Applied
			}
		}
	}
	queues := make([]QueueInfo, 0, len(byName))
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		queues = append(queues, *byName[name])
	}
	return queues, nil
}
