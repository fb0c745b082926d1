package metric

import (
	"context"
	"errors"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/instrument"
)

const (
	// Every is how long values that are read from the store and the coordinator are kept. However many Apps there are,
	// and however often their gauges are collected, they are read once in this time, by one of the Apps.
	Every = 15 * time.Second
	// maxQueues is the number of queues with gauges. The rest, by name, has none.
	maxQueues = instrument.MaxSystemQueues
)

// Gauges reads the gauges of an App. Create it with [NewGauges]. It is safe for concurrent use.
type Gauges struct{ app *af.App }

// NewGauges returns the Gauges of an App.
func NewGauges(app *af.App) *Gauges { return &Gauges{app} }

// refused reports whether App.System has refused to read, with this code. Errors of the store have no outcome. They may
// have the same code, such as that of a missing index, and hide only the values of the system.
func refused(err error, code af.Code) bool {
	e, ok := errors.AsType[*af.Error](err)
	return ok && e.Code == code && e.Outcome == af.OutcomeNotSent
}

// waiting are the statuses of tasks that have not ended.
var waiting = []af.Status{af.StatusWaiting, af.StatusPending, af.StatusRunning, af.StatusRetrying}

// Read calls record with each gauge, its value and the values of its attributes, which record must not keep. It calls
// nothing while the App is not running, and in a child process, whose parent has the gauges. Values of the whole
// system are those of [af.App.System]; on a backend without tasks there are none. If they can't be read, Read records
// only those of the App itself, and returns the error. It waits at most 5 s.
func (g *Gauges) Read(ctx context.Context, record func(m Metric, value float64, values ...string)) error {
	h := g.app.Health()
	if h.State != "running" {
		return nil
	}
	s, err := g.app.System(ctx)
	if refused(err, af.ErrFailedPrecondition) { // in a child process, and once the App shuts down
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
	switch {
	case refused(err, af.ErrUnimplemented): // the backend supports calls only
		return nil
	case err != nil:
		return err
	}
	if s.Instances >= 0 {
		record(table[instances], float64(s.Instances))
	}
	for i, q := range s.Queues {
		name := valid(q.Name)
		if i == maxQueues || i > 0 && name == valid(s.Queues[i-1].Name) {
			continue // one that differs only in invalid bytes
		}
		for _, status := range waiting {
			record(table[queueTasks], float64(q.Tasks[status]), name, string(status))
		}
		record(table[queueOldest], q.Oldest.Seconds(), name)
		paused := 0.0
		if q.Paused {
			paused = 1
		}
		record(table[queuePaused], paused, name)
		if q.Workers >= 0 {
			record(table[queueWorkers], float64(q.Workers), name)
		}
	}
	return nil
}
