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
	MaxCrashes  int // 0 means the Config's
	Timeout     time.Duration
	Backoff     time.Duration
	BackoffMax  time.Duration // 0 means 5 minutes, or Backoff if that is longer
	FanIn       bool          // it handles the end of its tasks' subtasks
	Fingerprint string        // of its payload
	Process     bool          // its handlers run in child processes
	// Begin prepares the run of a claimed task. It returns ctx with the values that the handler needs.
	Begin func(ctx context.Context, t *backend.Task) (context.Context, Run)
}

// A Run is one attempt of a task. Its methods are called on one goroutine, with the context that Begin returned.
// Lines, Failure and Logger may be called by another goroutine if the handler doesn't return after its context ended.
type Run interface {
	// Handle calls the worker and returns its encoded result.
	Handle(ctx context.Context) (json.RawMessage, error)
	// Lines returns the last log lines of the attempt, which are stored with the task, or nil.
	Lines() []string
	// Failure returns the stored form of a handler's error.
	Failure(ctx context.Context, err error) *backend.TaskError
	// Backoff returns the delay that the worker itself chooses before the next attempt, and whether it does.
	Backoff(ctx context.Context, err error) (time.Duration, bool)
	// Report logs an error that is a bug in the handler rather than one it returned.
	Report(ctx context.Context, err error)
	// Logger returns the logger of the attempt.
	Logger(ctx context.Context) *slog.Logger
}
