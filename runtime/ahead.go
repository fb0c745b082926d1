package runtime

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// Ahead counts the ready tasks of a queue that are claimed before a task: those with a higher weight, and older ones
// with the same weight. On servers, at most 10,000 are counted. Of a task that is not ready, it counts those that would
// be claimed before it if it were. If there is no such task, it returns [ErrNotFound].
func (a *App) Ahead(ctx context.Context, id string) (Count, error) {
	c, err := a.active()
	if err != nil {
		return Count{}, err
	}
	var n Count
	err = c.requests.Do(ctx, func(ctx context.Context) (err error) {
		n, err = c.store.Ahead(ctx, id)
		return err
	})
	return n, err
}

// Now returns the time of the store's clock, to which the times of tasks belong.
func (a *App) Now(ctx context.Context) (time.Time, error) {
	c, err := a.active()
	if err != nil {
		return time.Time{}, err
	}
	now, err := c.store.Now(ctx)
	if err != nil {
		return time.Time{}, backend.AsError(err)
	}
	return now, nil
}
