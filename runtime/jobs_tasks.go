package runtime

import (
	"context"
	"log/slog"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/jobs"
	"github.com/afgen/afgen/runtime/internal/tasks"
)

// jobsConfig is what package jobs needs of an engine, but for its tasks.
func jobsConfig(e *engine) jobs.Config {
	return jobs.Config{
		Docs: e.ports.Docs, Coordinator: e.ports.Coordinator, Backend: e.ports.Name,
		Instance: e.app.instance.ID, Idle: e.app.settings.idle,
		Context: e.ctx, Requests: e.requests, Bus: e.bus, Log: e.log, NewID: e.app.NewID,
		Unavailable: func(message string, err error) { e.client.LogUnavailable(e.ctx, message, err) },
		Available:   func(message string, err error) { e.log.Log(e.ctx, e.client.LevelOf(err, slog.LevelInfo), message) },
	}
}

// jobsTasks implements [jobs.Tasks].
type jobsTasks struct{ e *engine }

func (t jobsTasks) Now(ctx context.Context) (time.Time, error) { return t.e.store.Now(ctx) }

func (t jobsTasks) Get(ctx context.Context, id string) (Task, error) { return t.e.store.Get(ctx, id) }

func (t jobsTasks) Insert(ctx context.Context, all []backend.NewTask) ([]Task, error) {
	var stored []Task
	for part := range backend.SplitInsert(all, tasks.MaxInsertBytes) {
		some, err := t.e.store.Insert(ctx, part)
		if err != nil {
			return stored, err
		}
		stored = append(stored, some...)
	}
	return stored, nil
}

func (t jobsTasks) Wake(queue string, ids []string) { t.e.client.Wake(queue, ids) }

func (t jobsTasks) LookAgain(queue string) { t.e.lookEverywhere(queue) }

func (t jobsTasks) Stop(ctx context.Context, id, reason string) error {
	return t.e.stopTask(ctx, backend.Stop{ID: id, Reason: reason})
}
