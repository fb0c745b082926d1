package servers

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// modes are what an App is in while one of its servers is away, in the order of Health. docs/servers.md has them too.
var modes = [...]backend.Condition{
	{
		Name: "rabbitmq", Mode: "without-rabbitmq", Stops: []backend.Stopped{backend.StopsCalls},
		Works: "tasks: submits succeed, and workers look into the store for what is due, every 250 ms to 2 s",
		Lost:  "calls are neither made nor answered, nor raw messages sent: unavailable at once",
	},
	{
		Name: "mongodb", Mode: "without-mongodb", Stops: []backend.Stopped{backend.StopsTasks},
		Works: "calls; handlers that run go on for most of a lease, and their results are kept until it is back",
		Lost:  "submitting, stopping and reading tasks: unavailable at once; nothing new is run; after most of a lease what runs is stopped",
	},
	{
		Name: "redis", Mode: "without-redis",
		Works: "calls and tasks; stops arrive within 5 s, and the ends of tasks that run elsewhere within 2 s",
		Lost:  "RequireWorker: unavailable at once",
	},
}

// A look says why a server can't be used, nil: it can, and returns a channel that is closed when that may have changed.
type look func() (changed <-chan struct{}, err error)

// A monitor knows which servers are away, and says so in the log: once when one goes and once when it is back. The
// adapters look for their servers, it looks at the adapters.
type monitor struct {
	log   *slog.Logger
	looks [len(modes)]look
	end   context.CancelFunc
	done  sync.WaitGroup

	mu         sync.Mutex
	conditions [len(modes)]backend.Condition
}

// watch begins to watch the servers, of which looks has one each in the order of modes. The caller calls close.
func watch(log *slog.Logger, looks [len(modes)]look) *monitor {
	m := &monitor{log: log, looks: looks, conditions: modes}
	now := time.Now()
	for i := range m.conditions {
		m.conditions[i].Up, m.conditions[i].Since = true, now
	}
	ctx, end := context.WithCancel(context.Background())
	m.end = end
	changes := m.look()
	m.done.Go(func() {
		for {
			select {
			case <-changes[0]:
			case <-changes[1]:
			case <-changes[2]:
			case <-ctx.Done():
				return
			}
			changes = m.look()
		}
	})
	return m
}

func (m *monitor) close() {
	m.end()
	m.done.Wait()
}

// look notes how the servers stand, and returns what is closed when that may have changed.
func (m *monitor) look() (changes [len(modes)]<-chan struct{}) {
	for i, look := range m.looks {
		var err error
		changes[i], err = look()
		m.note(i, err)
	}
	return changes
}

func (m *monitor) note(i int, err error) {
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
		m.log.Warn("degraded: "+c.Mode, "mode", c.Mode, "server", c.Name, "cause", c.Cause, "works", c.Works, "lost", c.Lost)
	case err == nil && !c.Up:
		m.log.Info("no longer degraded: "+c.Mode, "mode", c.Mode, "server", c.Name, "after", now.Sub(c.Since).Round(time.Millisecond))
		c.Up, c.Since, c.Cause = true, now, ""
	}
}

// health is backend.Ports.Health.
func (m *monitor) health() []backend.Condition {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]backend.Condition(nil), m.conditions[:]...)
}
