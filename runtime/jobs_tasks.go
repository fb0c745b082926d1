package runtime

import (
	"context"
	"log/slog"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/jobs"
)

// jobsConfig returns the configuration of package jobs.
func jobsConfig(c *core) jobs.Config {
	return jobs.Config{
		Docs: c.ports.Docs, Store: c.store, Coordinator: c.ports.Coordinator, Backend: c.ports.Name,
		Instance: c.app.instance.ID, Idle: c.app.settings.idle,
		Context: c.ctx, Requests: c.requests, Bus: c.bus, Log: c.log, NewID: c.app.NewID, Hooks: c.app.hooks,
		Unavailable: func(message string, err error) { c.client.LogUnavailable(c.ctx, message, err) },
		Available:   func(message string, err error) { c.log.Log(c.ctx, c.client.LevelOf(err, slog.LevelInfo), message) },
	}
}

// jobsTasks implements [jobs.Tasks].
type jobsTasks struct{ c *core }

func (t jobsTasks) Wake(queue string, ids []string) { t.c.client.Wake(queue, ids) }

func (t jobsTasks) PollAgain(queue string) { t.c.pollEverywhere(queue) }

func (t jobsTasks) Stop(ctx context.Context, id, reason string) error {
	return t.c.stopTask(ctx, backend.Stop{ID: id, Reason: reason})
}
