package tasks

import (
	"context"
	"iter"
	"log/slog"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
)

// A Client submits and reads tasks. An [Engine] has one on its own ports. A child process, which runs only the task
// it was started for, has one on its pipe. Its methods are safe for concurrent use.
type Client struct {
	ports    *backend.Ports
	store    backend.Store
	log      *slog.Logger
	requests *retry.Requester
	wake     func(queue string, ids []string)
	// stopped handles tasks that were stopped or told to stop. It returns the sources whose subtasks may all be
	// finished.
	stopped func(tasks []backend.Task) (sources []string)
	// finished handles a source whose set of subtasks is finished.
	finished func(source string)
}

// NewClient returns the Client of a child process. wake publishes hints.
func NewClient(ports *backend.Ports, log *slog.Logger, requests *retry.Requester,
	wake func(queue string, ids []string)) *Client {
	// the parent handles them
	return &Client{ports, ports.Store, log, requests, wake, func([]backend.Task) []string { return nil }, func(string) {}}
}

// Requests retries store operations for callers.
func (c *Client) Requests() *retry.Requester { return c.requests }

// AllSubtasks returns an iterator over the subtasks of a source. It reads one page at a time.
func (c *Client) AllSubtasks(source string) func(context.Context) iter.Seq2[backend.Task, error] {
	return func(ctx context.Context) iter.Seq2[backend.Task, error] {
		return func(yield func(backend.Task, error) bool) {
			q := backend.TaskQuery{Source: source, Sort: backend.SortOldest, Limit: 500}
			for {
				var page backend.TaskPage
				err := retry.Do(ctx, retry.Timeout, func(ctx context.Context) (err error) {
					page, err = c.store.List(ctx, q)
					return err
				})
				if err != nil {
					yield(backend.Task{}, backend.AsError(err))
					return
				}
				for _, t := range page.Tasks {
					if !yield(t, nil) {
						return
					}
				}
				if q.Cursor = page.Cursor; q.Cursor == "" {
					return
				}
			}
		}
	}
}

// LevelOf returns the level for logging err: debug if a server is unavailable and the backend logs that itself.
func (c *Client) LevelOf(err error, otherwise slog.Level) slog.Level {
	if c.ports.Health != nil && retry.Unavailable(err) {
		return slog.LevelDebug
	}
	return otherwise
}

// LogUnavailable logs a failed store operation that will be retried.
func (c *Client) LogUnavailable(ctx context.Context, message string, err error, args ...any) {
	c.log.Log(ctx, c.LevelOf(err, slog.LevelWarn), message, append(args, "error", err)...)
}
