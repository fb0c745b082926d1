package apptest

import (
	"context"
	"reflect"
	"sync"
	"sync/atomic"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/instrument"
)

// reads is a backend that counts reads of all queues.
type reads struct {
	af.Backend
	n *atomic.Int64
}

// Open implements [backend.Backend].
func (r reads) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	ports, err := r.Backend.Open(ctx, env)
	if err == nil {
		ports.Store = readStore{ports.Store, r.n}
	}
	return ports, err
}

type readStore struct {
	backend.Store
	n *atomic.Int64
}

// Queues implements [backend.Store].
func (s readStore) Queues(ctx context.Context) ([]backend.QueueCounts, error) {
	s.n.Add(1)
	return s.Store.Queues(ctx)
}

// systemShared asks several Apps and an observer for the system at the same time. One of them reads it for all.
func systemShared(w *world) {
	var n atomic.Int64
	w.backend = reads{w.backend, &n}
	client := w.open(nil)
	for range 3 {
		must(af.NewQueue[int, int](client, jobWorker).Submit(w.Context(), 1))(w)
	}
	w.must(client.PauseQueue(w.Context(), jobWorker.Name))
	apps := []*af.App{client, w.open(works(same)), w.open(works(same)), Start(w, w.backend, nil, af.Observer())}
	w.within(patience, "all instances are listed", func() bool {
		return must(apps[3].Instances(w.Context(), af.InstanceQuery{}))(w).Total == 3
	})
	systems := make([]instrument.System, len(apps))
	before := n.Load()
	var asked sync.WaitGroup
	for i, app := range apps {
		asked.Go(func() {
			var err error
			if systems[i], err = app.System(w.Context()); err != nil {
				w.Errorf("App %d: %v", i, err)
			}
		})
	}
	asked.Wait()
	if n.Load() != before+1 {
		w.Errorf("the system was read %d times by %d Apps", n.Load()-before, len(apps))
	}
	for i, s := range systems {
		if !reflect.DeepEqual(s, systems[0]) {
			w.Errorf("App %d has %+v, App 0 has %+v", i, s, systems[0])
		}
	}
	s := systems[0]
	if s.Instances != 3 || len(s.Queues) != 1 || !s.Queues[0].Paused || s.Queues[0].Workers != 2 ||
		s.Queues[0].Tasks[af.StatusPending] != 3 || s.Queues[0].Oldest <= 0 || s.Queues[0].Name != jobWorker.Name {
		w.Errorf("the system is %+v", s)
	}
	if now := must(client.Now(w.Context()))(w); s.Time.After(now) || now.Sub(s.Time) > patience {
		w.Errorf("the system was read at %v, now it is %v", s.Time, now)
	}
}
