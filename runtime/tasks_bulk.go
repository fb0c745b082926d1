package runtime

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/audit"
	"github.com/afgen/afgen/runtime/internal/bulk"
)

// A BulkOption is an option of [App.StopTasks], [App.RetryTasks] and [App.DeleteTasks]. Each [ActionOption] is one.
type BulkOption interface{ applyBulk(*bulkOptions) }

type bulkOptions struct {
	action
	dryRun bool
}

type bulkOption func(*bulkOptions)

func (f bulkOption) applyBulk(o *bulkOptions) { f(o) }

// DryRun makes a bulk change only count the tasks that it would change.
func DryRun() BulkOption { return bulkOption(func(o *bulkOptions) { o.dryRun = true }) }

// A BulkResult is what one call of a bulk change has done.
type BulkResult struct {
	Matched int // tasks that match the query on this page
	// Changed counts those of them that were changed, or would be with DryRun. The others need no change, such as a task
	// that has ended meanwhile or was retried already.
	Changed int
	// Failed has the first 100 tasks that could not be changed, although they match.
	Failed []BulkFailure
	// Cursor continues after this page: set it as the query's. It is "" after the last page. Repeating a page that was
	// interrupted changes no task twice.
	Cursor string
}

// A BulkFailure is a task that a bulk change could not change.
type BulkFailure struct {
	ID  string
	Err error
}

var (
	liveStatuses  = slices.DeleteFunc(backend.Statuses(), Status.Final)
	finalStatuses = slices.DeleteFunc(backend.Statuses(), func(s Status) bool { return !s.Final() })
)

// StopTasks stops the tasks on the page of q, as [App.StopTask] does. A page has at most q.Limit tasks. Without
// q.Statuses only tasks that have not ended are selected. A task that is refused fails alone. If the store is
// unavailable, StopTasks returns what it has done with an error, and the call can be repeated.
func (a *App) StopTasks(ctx context.Context, q TaskQuery, opts ...BulkOption) (BulkResult, error) {
	return a.changeTasks(ctx, q, opts, func(c *core, act action) bulkChange {
		return bulkChange{audit.TasksStop, "stopping tasks", liveStatuses, bulk.Change{
			Applies: func(t *Task) bool { return !t.Status.Final() && !t.Stopping },
			Change: func(ctx context.Context, t *Task) (bool, error) {
				var stopped atomic.Bool
				err := c.requests.Do(ctx, func(ctx context.Context) error {
					return c.stopTask(ctx, backend.Stop{ID: t.ID, Reason: act.Stopped(), Each: func(some []Task) {
						for i := range some {
							if some[i].ID == t.ID {
								stopped.Store(true)
							}
						}
					}})
				})
				if CodeOf(err) == ErrNotFound { // deleted meanwhile
					return false, nil
				}
				return stopped.Load() || c.tasks == nil, err // a child process isn't told which tasks were stopped
			},
		}}
	})
}

// RetryTasks retries the tasks on the page of q that have ended, as [App.RetryTask] does. Without q.Statuses only tasks
// that have ended are selected; select failed ones to leave out those that succeeded. Tasks that were retried already
// do not change. The page may not be in the order [TasksByOldest]: it would reach the new tasks in the end. Otherwise
// RetryTasks is like [App.StopTasks].
func (a *App) RetryTasks(ctx context.Context, q TaskQuery, opts ...BulkOption) (BulkResult, error) {
	if q.Sort == TasksByOldest && q.Before.IsZero() {
		return BulkResult{}, NewError(ErrInvalidArgument, "RetryTasks: the oldest first would retry retries that fail; "+
			"set Before, or use another order").With(OutcomeNotSent)
	}
	return a.changeTasks(ctx, q, opts, func(c *core, _ action) bulkChange {
		return bulkChange{audit.TasksRetry, "retrying tasks", finalStatuses, bulk.Change{
			Applies: func(t *Task) bool { return t.Status.Final() },
			Prepare: c.retries.NotRetried,
			Change: func(ctx context.Context, t *Task) (created bool, err error) {
				_, err = c.retryTaskWith(ctx, t.ID, TaskOptions{Created: &created})
				if CodeOf(err) == ErrNotFound {
					return false, nil
				}
				return created, err
			},
		}}
	})
}

// DeleteTasks deletes the tasks on the page of q that have ended, as [App.DeleteTask] does. Without q.Statuses only
// tasks that have ended are selected. Subtasks do not change by themselves: they are deleted with the task at the top.
// Otherwise DeleteTasks is like [App.StopTasks].
func (a *App) DeleteTasks(ctx context.Context, q TaskQuery, opts ...BulkOption) (BulkResult, error) {
	return a.changeTasks(ctx, q, opts, func(c *core, _ action) bulkChange {
		return bulkChange{audit.TasksDelete, "deleting tasks", finalStatuses, bulk.Change{
			Applies: func(t *Task) bool { return t.Status.Final() && t.Source == "" && t.DoneOf == "" },
			Change:  func(ctx context.Context, t *Task) (bool, error) { return true, c.deleteStored(ctx, t.ID) },
			After:   func(ids []string) { c.finals.DropTrees(ids...) },
		}}
	})
}

// A bulkChange is a kind of bulk change.
type bulkChange struct {
	audit, doing string
	statuses     []Status // of a query without statuses
	bulk.Change
}

// changeTasks makes a bulk change. kind returns it, given the core and who makes it.
func (a *App) changeTasks(
	ctx context.Context, q TaskQuery, opts []BulkOption, kind func(*core, action) bulkChange,
) (BulkResult, error) {
	var o bulkOptions
	for _, opt := range opts {
		if opt != nil {
			opt.applyBulk(&o)
		}
	}
	c, err := a.activeFor(o.action)
	if err != nil {
		return BulkResult{}, err
	}
	b := kind(c, o.action)
	if err := outsideTx(ctx, b.doing); err != nil {
		return BulkResult{}, err
	}
	if len(q.Statuses) == 0 {
		q.Statuses = b.statuses
	}
	r, err := c.changePage(ctx, q, o.dryRun, b)
	if !o.dryRun {
		c.record(ctx, o.action, b.audit, audit.QueryTarget(&q), fmt.Sprintf("matched %d, changed %d, failed %d", r.Matched,
			r.Changed, len(r.Failed)), err)
	}
	return r, err
}

// changePage changes the tasks of a page.
func (c *core) changePage(ctx context.Context, q TaskQuery, dryRun bool, b bulkChange) (BulkResult, error) {
	page, err := c.list(ctx, q)
	if err != nil {
		return BulkResult{}, err
	}
	done, err := b.Page(ctx, page, dryRun)
	r := BulkResult{Matched: done.Matched, Changed: done.Changed, Cursor: done.Cursor}
	for _, f := range done.Failed {
		r.Failed = append(r.Failed, BulkFailure(f))
	}
	return r, err
}
