package servers

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// modes are the degraded modes, one for each server, in the order of Health. They are documented in docs/servers.md.
var modes = [...]backend.Condition{
	{
		Name: "rabbitmq", Mode: "without-rabbitmq", Stops: []backend.Stopped{backend.StopsCalls},
		Works: "tasks: submissions succeed; workers poll the store every 250 ms to 2 s",
		Lost:  "calls and raw messages: unavailable at once",
	},
	{
		Name: "mongodb", Mode: "without-mongodb", Stops: []backend.Stopped{backend.StopsTasks},
		Works: "calls; running handlers continue for most of a lease, and their results are kept until MongoDB is back",
		Lost: "submitting, stopping and reading tasks: unavailable at once; no task starts; " +
			"running tasks are cancelled after most of a lease",
	},
	{
		Name: "redis", Mode: "without-redis",
		Works: "calls and tasks; stop requests arrive within 5 s, results of other instances within 2 s",
		Lost:  "RequireWorker: unavailable at once",
	},
}

// A probe returns why a server is unavailable, or nil, and a channel that is closed when that may have changed.
type probe func() (changed <-chan struct{}, err error)

// A monitor tracks which servers are unavailable. It logs one line when a server goes down and one when it is back. The
// adapters probe their servers; the monitor only reads their states.
type monitor struct {
	log    *slog.Logger
	probes [len(modes)]probe
	end    context.CancelFunc
	done   sync.WaitGroup

	mu         sync.Mutex
	conditions [len(modes)]backend.Condition
}

// newMonitor starts a monitor with one probe for each server, in the order of modes. The caller must close it.
func newMonitor(log *slog.Logger, probes [len(modes)]probe) *monitor {
	m := &monitor{log: log, probes: probes, conditions: modes}
	now := time.Now()
	for i := range m.conditions {
		m.conditions[i].Up, m.conditions[i].Since = true, now
	}
	ctx, end := context.WithCancel(context.Background())
	m.end = end
	changes := m.update()
	m.done.Go(func() {
		for {
			select {
			case <-changes[0]:
			case <-changes[1]:
			case <-changes[2]:
			case <-ctx.Done():
				return
			}
			changes = m.update()
		}
	})
	return m
}

func (m *monitor) close() {
	m.end()
	m.done.Wait()
}

// update records the states of the servers, and returns channels that are closed when they may have changed.
func (m *monitor) update() (changes [len(modes)]<-chan struct{}) {
	for i, probe := range m.probes {
		var err error
		changes[i], err = probe()
		m.record(i, err)
	}
	return changes
}

func (m *monitor) record(i int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &m.conditions[i]
	now := time.Now()
	if err != nil {
		c.Cause = err.Error()
	}
	switch {
	case err != nil && c.Up:
		c.Up, c.Since = false, now
		m.log.Warn("degraded: "+c.Mode, "mode", c.Mode, "server", c.Name, "cause", c.Cause,
			"works", c.Works, "lost", c.Lost)
	case err == nil && !c.Up:
		m.log.Info("no longer degraded: "+c.Mode, "mode", c.Mode, "server", c.Name,
			"after", now.Sub(c.Since).Round(time.Millisecond))
		c.Up, c.Since, c.Cause = true, now, ""
	}
}

// health implements backend.Ports.Health.
func (m *monitor) health() []backend.Condition {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]backend.Condition(nil), m.conditions[:]...)
}
