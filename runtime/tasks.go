package runtime

import (
	"context"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/retry"
	"github.com/afgen/afgen/runtime/internal/tasks"
)

// active returns the App's core, or an error if the App is not started or the backend doesn't support tasks.
func (a *App) active() (*core, error) {
	if err := a.admit(); err != nil {
		return nil, err
	}
	if a.core == nil {
		return nil, Errorf(ErrUnimplemented, "backend %q does not support tasks", a.ports.Name).With(OutcomeNotSent)
	}
	return a.core, nil
}

// stopTask stops tasks in the store, cancels their handlers and finishes their subtasks.
func (c *core) stopTask(ctx context.Context, s backend.Stop) error {
	return c.app.process.StopTasks(ctx, s)
}

// GetTask returns the current state of a task, or [ErrNotFound]. It implements [TaskClient].
func (a *App) GetTask(ctx context.Context, id string) (Task, error) {
	c, err := a.active()
	if err != nil {
		return Task{}, err
	}
	t, err := c.store.Get(ctx, id)
	if err != nil {
		return Task{}, backend.AsError(err)
	}
	return t, nil
}

// WaitTask blocks until a task has ended and returns it. It implements [TaskClient]. It is notified when the task ends,
// and also polls the store in case the notification is lost. In the handler of a task it returns
// [ErrFailedPrecondition] for tasks that can't end before the handler returns: the task itself, and its subtasks that
// wait for it to succeed.
func (a *App) WaitTask(ctx context.Context, id string) (Task, error) {
	by, err := a.waiter(ctx, id)
	if err != nil {
		return Task{}, err
	}
	return a.process.WaitTask(ctx, id, by)
}

// pollEverywhere makes the workers of a queue poll the store, on all instances.
func (c *core) pollEverywhere(queue string) { c.bus.Publish(tasks.TopicPoll, []string{queue}) }

// A TaskQuery selects tasks for [App.Tasks]. A zero field does not restrict. Its fields:
//
//	Queue    string             // of this queue
//	Source   string             // subtasks of this task
//	Statuses []Status           // with one of these statuses
//	Code     Code               // failed with this code; Statuses is then StatusFailed alone
//	After    time.Time          // created at this time or later
//	Before   time.Time          // created before this time
//	Filter   TaskFilter         // conditions without an index: see TaskFilter
//	Sort     TaskSort           // the order
//	Limit    int                // tasks on a page: 1 to 1000; 0 means 100
//	Bytes    int                // size of a page: 1 to 16 MiB; 0 means 16 MiB
//	Cursor   string             // the Cursor of the previous page; "" for the first page
type TaskQuery = backend.TaskQuery

// A TaskPage is one page of the tasks that [App.Tasks] lists. Its fields:
//
//	Tasks   []Task // the tasks of this page
//	Total   int    // number of tasks on all pages, or 10,000 if AtLeast is set
//	AtLeast bool   // there are more than Total: counting stopped there
//	Cursor  string // for TaskQuery.Cursor, to get the next page; "" on the last page
//
// With a Filter, Total is the number of tasks on this page, and:
//
//	Looked   int       // tasks that were looked at
//	LookedTo time.Time // when the last of these was created
//	Bounded  bool      // the page ends after 100,000 tasks or 250 ms, and Cursor continues the search
type TaskPage = backend.TaskPage

// A TaskSort is an order of tasks; ids break ties. Its values are [TasksByNewest], [TasksByOldest] and [TasksByEnd].
type TaskSort = backend.TaskSort

// The orders of tasks.
const (
	TasksByNewest TaskSort = backend.SortNewest // by creation, newest first
	TasksByOldest TaskSort = backend.SortOldest // by creation, oldest first
	TasksByEnd    TaskSort = backend.SortEnded  // by end, latest first; tasks that have not ended come last
)

// Tasks returns a page of the tasks that match q, in the order of q.Sort. To read the next page, set q.Cursor to the
// Cursor of this one, which is "" on the last page. A page has at most q.Limit tasks and q.Bytes bytes, but at least
// one task if any are left. So a page with fewer tasks than q.Limit may not be the last.
//
// A task that exists during the whole iteration is returned once. One that is submitted or deleted meanwhile may be
// missed. If q is invalid, Tasks returns [ErrInvalidArgument].
func (a *App) Tasks(ctx context.Context, q TaskQuery) (TaskPage, error) {
	c, err := a.active()
	if err != nil {
		return TaskPage{}, err
	}
	return c.list(ctx, q)
}

func (c *core) list(ctx context.Context, q TaskQuery) (page TaskPage, err error) {
	err = c.requests.Do(ctx, func(ctx context.Context) (err error) {
		page, err = c.store.List(ctx, q)
		return err
	})
	return page, err
}

// TaskStatus returns the status of a task, or [ErrNotFound] if there is no such task, also after [Retention] has
// deleted it. It reads the store. If the store is unavailable and this process has read a final status of the task
// before, TaskStatus returns that after at most 10 s. The last 10,000 final statuses are remembered.
func (a *App) TaskStatus(ctx context.Context, id string) (Status, error) {
	c, err := a.active()
	if err != nil {
		return "", err
	}
	remembered, ok := c.finals.Get(id)
	if ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, retry.Timeout)
		defer cancel()
	}
	var t Task
	err = c.requests.Do(ctx, func(ctx context.Context) (err error) {
		t, err = c.store.Get(ctx, id)
		return err
	})
	switch {
	case ok && err != nil && retry.Unavailable(err):
		return remembered, nil
	case err == nil && t.Status.Final():
		c.finals.Put(id, t.Status)
	case err == nil, CodeOf(err) == ErrNotFound:
		c.finals.Drop(id) // the task was deleted, and its id may have been reused
	}
	return t.Status, err
}

func (c *core) getTask(ctx context.Context, id string) (t Task, err error) {
	err = c.requests.Do(ctx, func(ctx context.Context) (err error) {
		t, err = c.store.Get(ctx, id)
		return err
	})
	return t, err
}
