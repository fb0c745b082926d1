package runtime

import (
	"context"
	"iter"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/livelog"
	"github.com/afgen/afgen/runtime/internal/retry"
)

// FollowLog returns the log lines of a task as its handler writes them, in parts, beginning with the stored lines of
// earlier attempts. It follows later attempts, too, and ends when the task has ended, or with an error when ctx or
// the App ends or the task can't be read: [ErrNotFound] if there is none. While the store is unavailable it continues.
//
// While a caller follows a task, its process sends new lines about five times a second, and otherwise none. Lines of a
// handler that writes more than twenty in that time may be left out; then a line tells how many. Lines may also be lost
// with the coordinator's messages; those that are stored when the attempt ends are delivered then.
func (a *App) FollowLog(ctx context.Context, id string) iter.Seq2[[]string, error] {
	return func(yield func([]string, error) bool) {
		c, err := a.active()
		if err == nil && c.ports.Coordinator == nil {
			err = Errorf(ErrUnimplemented, "backend %q does not support events", a.ports.Name).With(OutcomeNotSent)
		}
		if err == nil {
			err = livelog.Follow(ctx, id, livelog.Source{
				Coordinator: c.ports.Coordinator, Bus: c.bus, Closing: c.ctx,
				Get: func(ctx context.Context) (Task, error) { return c.readTask(ctx, id) },
			}, func(lines []string) bool { return yield(lines, nil) })
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// readTask reads a task once.
func (c *core) readTask(ctx context.Context, id string) (Task, error) {
	ctx, cancel := context.WithTimeout(ctx, retry.Timeout)
	defer cancel()
	t, err := c.store.Get(ctx, id)
	if err != nil {
		return Task{}, backend.AsError(err)
	}
	return t, nil
}

// liveLines returns the lines of a task that runs in this process, for package livelog.
func (c *core) liveLines(id string) (livelog.Lines, int64) {
	run, fence := c.tasks.Attempt(id)
	if r, ok := run.(*taskRun); ok {
		return &r.state.log, fence
	}
	return nil, 0
}
