package metric

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	af "github.com/afgen/afgen/runtime"
)

const (
	// Every is how long values that are read from the store and the coordinator are kept. However often gauges are
	// collected, an App reads them once in this time.
	Every = 15 * time.Second
	// maxQueues is the number of queues with gauges. The rest, by name, has none.
	maxQueues = MaxSeries / 4
	// readTimeout limits how long a collection waits for the store.
	readTimeout = 5 * time.Second
)

// Gauges reads the gauges of an App. Create it with [NewGauges]. It is safe for concurrent use.
type Gauges struct {
	app *af.App

	mu     sync.Mutex
	read   time.Time // when the system was read, or could not be; zero before
	system system
	err    error
}

// system is what all Apps have in common.
type system struct {
	queues    []queue
	instances int
}

type queue struct {
	af.QueueInfo
	oldest time.Duration
}

// NewGauges returns the Gauges of an App.
func NewGauges(app *af.App) *Gauges { return &Gauges{app: app} }

// waiting are the statuses of tasks that have not ended.
var waiting = []af.Status{af.StatusWaiting, af.StatusPending, af.StatusRunning, af.StatusRetrying}

// Read calls record with each gauge, its value and the values of its attributes, which record must not keep. It calls
// nothing while the App is not running. Values of the whole system are at most [Every] old. If they can't be read, Read
// records only those of the App itself, and returns the error. It waits at most 5 s.
func (g *Gauges) Read(ctx context.Context, record func(m Metric, value float64, values ...string)) error {
	h := g.app.Health()
	if h.State != "running" {
		return nil
	}
	modes := map[string]float64{} // several conditions may have one mode
	for _, c := range h.Conditions {
		up := 1.0
		if !c.Up {
			up = 0
		}
		record(table[backendUp], up, c.Name)
		modes[c.Mode] = max(modes[c.Mode], 1-up)
	}
	for mode, in := range modes {
		record(table[backendMode], in, mode)
	}
	load := g.app.Load()
	record(table[settleBacklog], float64(load.Backlog))
	for i, q := range load.Queues {
		if i < maxQueues {
			record(table[workerSlots], float64(q.Slots), valid(q.Queue))
			record(table[workerUsed], float64(q.Used), valid(q.Queue))
		}
	}
	s, err := g.readSystem(ctx)
	if err != nil {
		return err
	}
	record(table[instances], float64(s.instances))
	for _, q := range s.queues {
		name := valid(q.Name)
		for _, status := range waiting {
			record(table[queueTasks], float64(q.Counts[status].N), name, string(status))
		}
		record(table[queueOldest], q.oldest.Seconds(), name)
		paused := 0.0
		if q.Limits.Paused {
			paused = 1
		}
		record(table[queuePaused], paused, name)
		record(table[queueWorkers], float64(q.Workers), name)
	}
	return nil
}

// readSystem returns the values of the system: those that were read last, or new ones. An error is kept as long as
// values, so that collections do not add to the load of a store that is overloaded.
func (g *Gauges) readSystem(ctx context.Context) (system, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.read.IsZero() && time.Since(g.read) < Every {
		return g.system, g.err
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	s, err := readSystem(ctx, g.app)
	if errors.Is(ctx.Err(), context.Canceled) { // the collection was ended, which says nothing about the store
		return s, err
	}
	g.system, g.err, g.read = s, err, time.Now()
	return s, err
}

func readSystem(ctx context.Context, app *af.App) (s system, err error) {
	infos, err := app.Queues(ctx)
	if err != nil {
		return s, fmt.Errorf("reading queues for gauges: %w", err)
	}
	page, err := app.Instances(ctx, af.InstanceQuery{Limit: 1})
	if err != nil {
		return s, fmt.Errorf("reading instances for gauges: %w", err)
	}
	now, err := app.Now(ctx)
	if err != nil {
		return s, fmt.Errorf("reading the time of the store for gauges: %w", err)
	}
	s.instances = page.Total
	for _, info := range infos[:min(len(infos), maxQueues)] {
		q := queue{QueueInfo: info}
		if !info.Oldest.IsZero() {
			q.oldest = max(now.Sub(info.Oldest), 0)
		}
		s.queues = append(s.queues, q)
	}
	return s, nil
}
