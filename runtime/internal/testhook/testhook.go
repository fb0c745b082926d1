// Package testhook shares functions of package runtime with package aftest that users of package runtime can't call.
// Package runtime assigns them when it is initialized. Since package runtime imports this package, its types are
// passed as any.
package testhook

import (
	"context"
	"encoding/json"
	"log/slog"

	"github.com/afgen/afgen/runtime/backend"
)

// A Report receives what the handler of a task reports.
type Report interface {
	// Progress receives progress that Running.Progress has checked.
	Progress(ctx context.Context, id string, fence int64, progress json.RawMessage) error
	// Handler receives the records that an App stores with the task.
	slog.Handler
}

var (
	// TaskContext returns a copy of ctx as the handler of a task gets it. running is a runtime.Running.
	TaskContext func(ctx context.Context, running any, to Report) context.Context

	// Prepare returns the tasks that App.SubmitTasks stores for submission, a runtime.Submission, or the error with which
	// it refuses them. If storing them fails, pass the error to failed, which returns that of SubmitTasks.
	Prepare func(ctx context.Context, submission any, newID func() string) (
		tasks []backend.NewTask, failed func(error) error, err error)

	// CheckJob returns the error with which App.PutJob refuses job, a runtime.JobSpec.
	CheckJob func(job any) error
)
