package tasks

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// A Worker runs the tasks of one queue.
type Worker struct {
	Queue       string
	Max         int // tasks at once, before limits
	Retries     int
	MaxCrashes  int // 0: that of the Config
	Timeout     time.Duration
	Backoff     time.Duration
	FanIn       bool   // it handles the end of its tasks' subtasks
	Fingerprint string // of its payload
	// Begin prepares the run of a claimed task. The context that it returns is ctx with what the handler needs.
	Begin func(ctx context.Context, t *backend.Task) (context.Context, Run)
}

// A Run is one attempt of a task, as the App makes it. Its methods are called with the context that Begin returned, on one
// goroutine, but for Lines, Failure and Logger, which another one calls if the handler ignores the end of its context.
type Run interface {
	// Handle calls the worker and returns its encoded result.
	Handle(ctx context.Context) (json.RawMessage, error)
	// Lines returns the last lines that the attempt has logged, to be kept with the task; nil if there are none.
	Lines() []string
	// Failure returns an error of the handler as the task keeps it.
	Failure(ctx context.Context, err error) *backend.TaskError
	// Report logs an error of the handler that is a bug in it, and not one that it returned.
	Report(ctx context.Context, err error)
	// Logger returns the logger of the attempt.
	Logger(ctx context.Context) *slog.Logger
}
