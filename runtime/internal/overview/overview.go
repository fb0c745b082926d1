// Package overview reads what an App shows of the whole system.
//
// A [Source] reads all queues, with their tasks, limits and workers, wherever these are stored.
//
// A [Shared] does so for the gauges of all Apps at once: they share one value, a document in the store. The first App
// that is asked for it when it is [Every] old reads the system and replaces it, and the others read the document. So a
// system of 100 Apps, each of which is scraped, is read once in this time, and all Apps show the same. If no App is
// asked, nothing is read or written: that is why no App has the task of refreshing the value.
package overview

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
	"github.com/afgen/afgen/runtime/internal/retry"
)

// A Source is where queues are read from. Its methods are safe for concurrent use.
type Source struct {
	Store    backend.Store
	Docs     backend.Docs // nil if the backend does not support documents
	Requests *retry.Requester
	Limits   func(context.Context) (map[string]limits.Limits, error)
	Present  func(context.Context) (map[string]registry.Announcement, error) // without a registry: none
}

// A Queue has the fields of af.QueueInfo.
type Queue struct {
	Name                    string
	Counts                  map[backend.Status]backend.Count
	Oldest                  time.Time
	Limits                  limits.Limits
	Workers, Slots, Running int
	Served                  time.Time
}

// found is what was read.
type found struct {
	counted []backend.QueueCounts
	limited map[string]limits.Limits
	served  map[string]time.Time
	present map[string]registry.Announcement
}

// Queues returns all queues, sorted by name: those with tasks, limits or a worker, and those that had a worker.
func (s *Source) Queues(ctx context.Context) ([]Queue, error) {
	f, errStore, errPresent := s.read(ctx)
	if err := cmp.Or(errStore, errPresent); err != nil {
		return nil, err
	}
	return f.queues(), nil
}

// read reads at the same time what is stored, and which instances are present.
func (s *Source) read(ctx context.Context) (f found, errStore, errPresent error) {
	var errs [3]error
	var reads sync.WaitGroup
	reads.Go(func() {
		errs[0] = s.Requests.Do(ctx, func(ctx context.Context) (err error) {
			f.counted, err = s.Store.Queues(ctx)
			return err
		})
	})
	reads.Go(func() { f.limited, errs[1] = s.Limits(ctx) })
	if s.Docs != nil {
		reads.Go(func() { f.served, errs[2] = presence.ServedQueues(ctx, s.Docs) })
	}
	reads.Go(func() { f.present, errPresent = s.Present(ctx) })
	reads.Wait()
	return f, cmp.Or(errs[:]...), errPresent
}

// queues joins what was read.
func (f *found) queues() []Queue {
	byName := map[string]*Queue{}
	of := func(name string) *Queue {
		q := byName[name]
		if q == nil {
			q = &Queue{Name: name, Counts: map[backend.Status]backend.Count{}}
			byName[name] = q
		}
		return q
	}
	for i := range f.counted {
		q := of(f.counted[i].Queue)
		maps.Copy(q.Counts, f.counted[i].Counts)
		q.Oldest = f.counted[i].Oldest
	}
	for name, l := range f.limited {
		of(name).Limits = l
	}
	for name, seen := range f.served {
		of(name).Served = seen
	}
	now := time.Now()
	for _, n := range f.present {
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
	queues := make([]Queue, 0, len(byName))
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		queues = append(queues, *byName[name])
	}
	return queues
}
